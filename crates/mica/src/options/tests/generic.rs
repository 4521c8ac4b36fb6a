//! Flags of mount(8), and a remount, which changes them.

use super::*;

#[test]
fn flags_add_up_and_the_last_of_two_opposites_counts() {
    use MountFlags as F;
    for (option, expected) in [
        ("rw", F::empty()),
        ("ro", F::READ_ONLY),
        ("ro,rw", F::empty()),
        ("rw,ro", F::READ_ONLY),
        (
            "nodev,nosuid,noexec,noatime",
            F::NODEV | F::NOSUID | F::NOEXEC | F::NOATIME,
        ),
        ("nodev,dev", F::DEV),
        ("suid,nosuid", F::NOSUID),
        ("nosuid,suid,nosuid", F::NOSUID),
        ("noexec,exec", F::empty()),
        ("noatime,atime", F::empty()),
        ("allow_other,allow_other", F::ALLOW_OTHER),
        ("allow_root,allow_other", F::ALLOW_OTHER),
        ("allow_other,allow_root", F::ALLOW_ROOT),
        (
            "nosymfollow,nodiratime,sync",
            F::NOSYMFOLLOW | F::NODIRATIME | F::SYNC,
        ),
        (
            "nosymfollow,symfollow,nodiratime,diratime,sync,async",
            F::empty(),
        ),
        ("noatime,strictatime", F::STRICTATIME),
        ("strictatime,noatime", F::NOATIME),
        ("strictatime,nostrictatime", F::empty()),
        ("noatime,relatime", F::empty()),
        ("user", F::NODEV | F::NOSUID | F::NOEXEC),
        ("users,exec", F::NODEV | F::NOSUID),
        ("owner", F::NODEV | F::NOSUID),
        ("group,suid", F::NODEV | F::SUID),
        ("dev,suid,exec,user", F::NODEV | F::NOSUID | F::NOEXEC),
        ("user=me", F::empty()),
        ("debug", F::DEBUG),
        (",,ro,", F::READ_ONLY),
    ] {
        let spec = parse(&["lowerdir=l", option]).unwrap();
        assert_eq!(spec.flags, expected, "{option}");
    }
}

fn remount(strings: &[&str], manner: Manner) -> Result<Remount, OptionError> {
    match Request::parse(strings, manner)? {
        Request::Remount(change) => Ok(change),
        Request::Mount(_) => panic!("no remount"),
    }
}

#[test]
fn a_remount_has_flags_to_set_and_flags_to_clear() {
    use MountFlags as F;
    let none = F::empty();
    let times = F::NOATIME | F::STRICTATIME;
    for (options, set, clear) in [
        ("remount", none, none),
        ("remount,ro", F::READ_ONLY, none),
        ("ro,remount,rw", none, F::READ_ONLY),
        ("rw,remount,ro,nodev", F::READ_ONLY | F::NODEV, none),
        ("remount,suid,exec", none, F::NOSUID | F::NOEXEC),
        ("remount,noatime", F::NOATIME, F::STRICTATIME),
        ("remount,noatime,strictatime", F::STRICTATIME, F::NOATIME),
        ("remount,noatime,relatime", none, times),
        ("remount,user,exec", F::NODEV | F::NOSUID, F::NOEXEC),
        ("remount,user=me,noauto,x-a=b", none, none),
    ] {
        let change = remount(&[options], Manner::Mica).unwrap();
        assert_eq!((change.set, change.clear), (set, clear), "{options}");
        assert_eq!(change.notes, [], "{options}");
    }
}

#[test]
fn a_remount_changes_nothing_else() {
    for option in [
        "lowerdir=a",
        "upperdir=u",
        "sync",
        "allow_other",
        "timeout=1",
        "index=off",
        "context=a",
    ] {
        let name = option.split('=').next().unwrap();
        let error = remount(&["remount", option], Manner::Mica).unwrap_err();
        let message = format!("mount option `{name}` cannot be changed by a remount");
        assert_eq!(error.to_string(), message);
        let hint = "a remount sets or clears ro, nodev, nosuid, noexec, nosymfollow and those of access times; for the rest, unmount and mount anew";
        assert_eq!(error.hint().as_deref(), Some(hint));
        let change = remount(&[option, "remount,ro"], Manner::Mount).unwrap();
        assert_eq!(change.set, MountFlags::READ_ONLY);
        let notes: Vec<String> = change.notes.iter().map(Note::to_string).collect();
        let note =
            format!("`{name}`: decided when the mount was made, and not changed by a remount");
        assert_eq!(notes, [note]);
    }
    let unknown = remount(&["remount,wibble"], Manner::Mount).unwrap_err();
    assert_eq!(unknown.to_string(), "unknown mount option `wibble`");
    assert_eq!(parse(&["remount"]), Err(OptionError::RemountIsNoMount));
}
