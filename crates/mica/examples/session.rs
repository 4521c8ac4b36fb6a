//! Runs a shell script on a private copy of the files of a tree, shows what it changed, and does to the tree what is wanted of it: all
//! that `mica do`, `diff`, `commit`, `sessions` and `discard` do, as a program of its own.
//!
//! `session STORE TREE SCRIPT`: sessions are kept in the directory STORE. Run it as root, or as an ordinary user who may open
//! /dev/fuse.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "it is an example, and shows something")]

use std::env;
use std::error::Error;
use std::ffi::OsStr;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use mica::{
    CommitError, CommitSpec, Deleted, Entered, Event, ExportSpec, RunSpec, Session, Sessions,
    ViewSpec, Who,
};

type Done = Result<(), Box<dyn Error>>;

fn main() -> Done {
    let words: Vec<_> = env::args_os().skip(1).collect();
    let words: Vec<_> = words.iter().map(|word| word.as_os_str()).collect();
    match words.as_slice() {
        // A session has processes of its own: this program, called again.
        [part] if *part == "stage" => {
            Ok(mica::be_stage(io::stdin().as_fd().try_clone_to_owned()?)?)
        }
        [part, work] if *part == "within" => {
            let session = mica::be_within(io::stdin().as_fd().try_clone_to_owned()?)?.session;
            do_work(&session, work)
        }
        [store, tree, script] => all(&Sessions::new(store.into()), Path::new(tree), script),
        _ => Err("session STORE TREE SCRIPT".into()),
    }
}

/// This program as a process of a session.
fn part(words: &[&str]) -> Command {
    let mut line = Command::new("/proc/self/exe");
    line.args(words);
    line
}

fn all(store: &Sessions, tree: &Path, script: &OsStr) -> Done {
    let mut stage = part(&["stage"]);
    let session = run(store, tree, script)?;
    println!("changed: {:?}", session.changes(&mut stage)?);
    work(&session, "diff")?;

    // Another try that begins where this one ended, and is given up.
    let name = session.name().to_owned();
    drop(session);
    let fork = store.fork(&name, Some(OsStr::new("again")), &mut stage, &mut |_| {
        ControlFlow::Continue(())
    })?;
    println!("forked: {}", fork.name().display());
    fork.discard(&mut stage)?;

    let session = store.open(&name)?;
    export(&session)?;
    work(&session, "plan")?;
    work(&session, "commit")?;
    drop(session);
    for info in store.list()? {
        println!("left: {} ({:?})", info.name, info.activity);
    }
    Ok(store.prune(SystemTime::now(), &mut stage, &mut |name| {
        println!("removed: {name}");
    })?)
}

/// Runs the script in a new session.
fn run(store: &Sessions, tree: &Path, script: &OsStr) -> Result<Session, Box<dyn Error>> {
    let Entered::Idle(mut session) = store.enter(None, Some(tree))? else {
        return Err("a session without a name is new".into());
    };
    let spec = RunSpec {
        command: vec!["/bin/sh".into(), "-c".into(), script.into()],
        dir: Some("/".into()),
        who: Who::Same,
        environment: None,
        view: ViewSpec::default(),
    };
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let stdio = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    let running = session.start(&spec, &mut part(&["stage"]), stdio)?;
    let exit = loop {
        match running.wait()? {
            Event::Ended(exit) => break exit,
            Event::Stopped(_) => running.signaller().resume()?,
        }
    };
    running.finish()?;
    session.note_end(exit)?;
    println!("ended: {exit:?}");
    Ok(session)
}

/// Does something here, or in the user namespace of the session if it has one: there its ids are this process's, too.
fn work(session: &Session, what: &str) -> Done {
    match session.within(&mut part(&["within", what]))? {
        None => do_work(session, OsStr::new(what)),
        Some(0) => Ok(()),
        Some(status) => Err(format!("{what} ended with {status}").into()),
    }
}

fn do_work(session: &Session, what: &OsStr) -> Done {
    match what.to_str() {
        Some("diff") => diff(session),
        Some("plan") => commit(session, true),
        _ => commit(session, false),
    }
}

fn diff(session: &Session) -> Done {
    for change in session.diff(Deleted::AsOne)?.changes {
        let aspects: Vec<_> = change.aspects.iter_names().map(|(name, _)| name).collect();
        println!("{:?} {} {aspects:?}", change.kind, change.path.display());
    }
    Ok(())
}

/// Writes the changes as a layer of a container image, here to nowhere.
fn export(session: &Session) -> Done {
    let spec = ExportSpec {
        upper: session.upper(),
        ..ExportSpec::default()
    };
    let goes_on = &mut |_| ControlFlow::Continue(());
    let exported = mica::export(&spec, Some(session), &mut io::sink(), goes_on, &mut |_| ())?;
    println!("exported: {exported:?}");
    Ok(())
}

/// Commits the session. What others changed meanwhile stays as it is.
fn commit(session: &Session, dry_run: bool) -> Done {
    let mut spec = CommitSpec {
        dry_run,
        wait: Duration::from_secs(60),
        ..CommitSpec::default()
    };
    let goes_on = &mut |_| ControlFlow::Continue(());
    let committed = match session.commit(&spec, goes_on) {
        Err(CommitError::Conflicts(conflicts)) => {
            for conflict in &conflicts {
                println!("conflict: {} {}", conflict.path.display(), conflict.kind);
            }
            spec.theirs = vec![PathBuf::from("/")];
            session.commit(&spec, goes_on)?
        }
        done => done?,
    };
    for (path, manner) in committed.changes {
        let will = if dry_run { "will be" } else { "is" };
        println!("{} {will} {manner:?}", path.display());
    }
    Ok(())
}
