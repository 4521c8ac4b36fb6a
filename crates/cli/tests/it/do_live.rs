//! `mica do`: the machine goes on to change while a command runs.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use crate::do_run::Place;
use crate::ground::can_mount;

/// The session asks again after a second; a busy machine may need more to answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A shell that runs in a session, line by line.
pub(crate) struct Shell {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Shell {
    pub(crate) fn start(place: &Place, options: &[&str]) -> Self {
        let script = "while read -r line; do eval \"$line\" 2>&1; echo; echo :end; done";
        let mut command = place.script(options, script);
        command
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().unwrap());
        Self {
            child,
            stdin,
            stdout: BufReader::new(stdout),
        }
    }

    /// What a line of the shell prints.
    #[track_caller]
    pub(crate) fn say(&mut self, line: &str) -> String {
        let stdin = self.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").unwrap();
        let mut said = String::new();
        while !said.ends_with("\n:end\n") {
            assert_ne!(
                self.stdout.read_line(&mut said).unwrap(),
                0,
                "{line}: {said}"
            );
        }
        said.trim_end_matches("\n:end\n").trim_end().to_owned()
    }

    /// Waits until a line of the shell prints `expected`.
    #[track_caller]
    fn comes_to(&mut self, line: &str, expected: &str) {
        let end = Instant::now() + TIMEOUT;
        loop {
            let said = self.say(line);
            if said == expected {
                return;
            }
            assert!(Instant::now() < end, "{line}: still {said}");
        }
    }

    /// Lets it end, and returns what it said on stderr.
    #[track_caller]
    pub(crate) fn end(self) -> String {
        let (status, stderr) = self.finish();
        assert_eq!(status, Some(0), "{stderr}");
        stderr
    }

    /// Lets it end, and returns its status and what it said on stderr.
    pub(crate) fn finish(mut self) -> (Option<i32>, String) {
        drop(self.stdin.take());
        let output = self.child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), stderr)
    }

    /// The front.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }
}

#[test]
fn what_the_machine_changes_is_seen_by_who_opens_it() {
    if !can_mount("what_the_machine_changes_is_seen_by_who_opens_it") {
        return;
    }
    let place = Place::new();
    let mut shell = Shell::start(&place, &["--rm"]);
    assert_eq!(shell.say("cat kept changed gone"), "host\nhost\nhost");
    fs::write(place.at("d/kept"), "longer than before\n").unwrap();
    assert_eq!(shell.say("cat kept; wc -c <kept"), "longer than before\n19");
    fs::write(place.at("d/.new"), "another\n").unwrap();
    fs::rename(place.at("d/.new"), place.at("d/changed")).unwrap();
    assert_eq!(shell.say("cat changed"), "another");
    fs::remove_file(place.at("d/gone")).unwrap();
    shell.comes_to("ls", "changed\nkept");
    shell.comes_to("cat gone", "cat: gone: No such file or directory");
    fs::create_dir(place.at("d/gone")).unwrap();
    fs::write(place.at("d/gone/below"), "").unwrap();
    shell.comes_to("ls gone", "below");
    // What the session has changed is its own.
    shell.say("echo mine >kept; rm changed; mkdir dir; touch gone/mine");
    fs::write(place.at("d/kept"), "theirs\n").unwrap();
    fs::write(place.at("d/changed"), "theirs\n").unwrap();
    fs::write(place.at("d/dir"), "theirs\n").unwrap();
    fs::write(place.at("d/gone/theirs"), "theirs\n").unwrap();
    shell.comes_to("ls gone", "below\nmine\ntheirs");
    assert_eq!(shell.say("cat kept; ls; ls dir"), "mine\ndir\ngone\nkept");
    shell.end();
    assert_eq!(fs::read_to_string(place.at("d/kept")).unwrap(), "theirs\n");
}

#[test]
fn an_open_file_is_read_after_the_machine_has_replaced_it() {
    if !can_mount("an_open_file_is_read_after_the_machine_has_replaced_it") {
        return;
    }
    let place = Place::new();
    fs::create_dir(place.at("d/many")).unwrap();
    // More than the server keeps open of its own accord.
    for n in 0..600 {
        fs::write(place.at("d/many").join(n.to_string()), "x").unwrap();
    }
    let mut shell = Shell::start(&place, &["--rm"]);
    assert_eq!(shell.say("exec 3<kept 4<gone"), "");
    fs::write(place.at("d/.new"), "another\n").unwrap();
    fs::rename(place.at("d/.new"), place.at("d/kept")).unwrap();
    fs::remove_file(place.at("d/gone")).unwrap();
    assert_eq!(shell.say("cat many/* | wc -c"), "600");
    assert_eq!(
        shell.say("cat <&3; cat <&4; cat kept"),
        "host\nhost\nanother"
    );
    // Closed, they are not kept.
    assert_eq!(shell.say("exec 3<&- 4<&-"), "");
    shell.comes_to("cat gone", "cat: gone: No such file or directory");
    shell.end();
}
