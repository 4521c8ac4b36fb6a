//! `mica do` on a terminal: the command has one of the session, which behaves as the user's own would.

use crate::do_run::Place;
use crate::ground::can_mount;
use crate::terminal::Terminal;

/// A place, if there can be a session on a terminal.
fn place(test: &str) -> Option<Place> {
    can_mount(test).then(Place::new)
}

#[test]
fn the_command_has_a_terminal_of_the_session_of_the_same_size() {
    let Some(place) = place("the_command_has_a_terminal_of_the_session_of_the_same_size") else {
        return;
    };
    let line = "stty rows 41 cols 102; tty; \
                $MICA do --rm -- sh -c 'tty; stty size; test -t 0 -a -t 1 -a -t 2 && echo three; trap \"stty size\" WINCH; \
                    echo ready; while read -r word; do echo read $word; done'";
    let mut terminal = Terminal::line(&place, line);
    let said = terminal.waits("ready\r\n");
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(
        &lines[1..],
        ["/dev/pts/0", "41 102", "three", "ready"],
        "{said}"
    );
    assert_ne!(lines[0], "not a tty");
    // What is typed is echoed once, by the session's terminal.
    terminal.types("word\n");
    assert_eq!(terminal.waits("read word\r\n"), "word\r\nread word\r\n");
    // ^D ends its input.
    terminal.types("\u{4}");
    let (status, said) = terminal.ends();
    assert_eq!(status, Some(0), "{said}");
}

#[test]
fn a_new_size_of_the_users_terminal_is_that_of_the_sessions() {
    let Some(place) = place("a_new_size_of_the_users_terminal_is_that_of_the_sessions") else {
        return;
    };
    // Another process of the user's changes it, as a window that is drawn larger does.
    let line = "(while ! test -e go; do sleep 0.01; done; stty rows 30 cols 90 </dev/tty) & \
                $MICA do --rm --write . -- sh -c 'trap \"stty size; exit 4\" WINCH; touch go; while :; do sleep 0.01; done'";
    let (status, said) = Terminal::line(&place, line).ends();
    assert_eq!(status, Some(4), "{said}");
    assert!(said.contains("30 90\n"), "{said}");
}

#[test]
fn control_c_interrupts_the_command_and_nothing_else() {
    let Some(place) = place("control_c_interrupts_the_command_and_nothing_else") else {
        return;
    };
    let mut terminal = Terminal::start(
        &place,
        &["--rm"],
        "trap \"echo caught; exit 5\" INT; echo ready; sleep 1000 & wait",
    );
    terminal.waits("ready\r\n");
    terminal.types("\u{3}");
    let (status, said) = terminal.ends();
    assert_eq!(status, Some(5), "{said}");
    assert!(said.starts_with("caught\n"), "{said}");
}

#[test]
fn control_z_stops_it_for_the_shell_and_fg_goes_on() {
    let Some(place) = place("control_z_stops_it_for_the_shell_and_fg_goes_on") else {
        return;
    };
    // A shell with job control: what comes after the job that stopped runs.
    let line = "set -m; $MICA do --rm -- sh -c \"echo ready; read word; echo got \\$word\"; echo stopped: $?; stty -a | grep -c -w icanon; \
                read other; echo shell: $other; fg >/dev/null; echo ended: $?";
    let mut terminal = Terminal::line(&place, &format!("sh -c '{}'", line));
    terminal.waits("ready\r\n");
    terminal.types("\u{1a}");
    let said = terminal.waits("1\r\n");
    assert!(said.contains("stopped: 147"), "{said}");
    // The terminal is the shell's again.
    terminal.types("mine\n");
    terminal.waits("shell: mine\r\n");
    terminal.types("yours\n");
    let (_, said) = terminal.ends();
    assert!(
        said.contains("got yours\n") && said.contains("ended: 0\n"),
        "{said}"
    );
}

#[test]
fn without_a_command_the_users_shell_runs() {
    let Some(place) = place("without_a_command_the_users_shell_runs") else {
        return;
    };
    let mut terminal = Terminal::line(&place, "SHELL=/bin/sh PS1='>' $MICA do --rm");
    terminal.waits(">");
    terminal.types("sleep 1000 & jobs -l; kill %1; echo $0\n");
    terminal.waits("/bin/sh\r\n");
    terminal.types("exit 6\n");
    let (status, said) = terminal.ends();
    assert_eq!(status, Some(6), "{said}");
}

#[test]
fn the_terminal_is_given_back_when_the_session_is_lost() {
    let Some(place) = place("the_terminal_is_given_back_when_the_session_is_lost") else {
        return;
    };
    let line = "(while ! test -e go; do sleep 0.01; done; kill -9 $(pgrep -P $(cat front))) & \
                sh -c 'echo $$ >front; exec $MICA do --rm --write . -- sh -c \"touch go; sleep 1000\"'; \
                echo lost: $?; stty -a | grep -c -w -e -icanon -e -echo";
    let (_, said) = Terminal::line(&place, line).ends();
    assert!(said.ends_with("lost: 125\n0\n"), "{said}");
}
