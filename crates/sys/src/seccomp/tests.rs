use super::*;

/// What the kernel would make of `code`, as far as it is used here: `struct seccomp_data` in, action out.
fn run(code: &[Instruction], arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let word = |offset: u32| match offset {
        NUMBER => number,
        ARCH => arch,
        _ => {
            let argument = arguments[usize::try_from((offset - ARGUMENTS) / 8).unwrap()];
            low_half(if (offset - ARGUMENTS) % 8 == 4 {
                argument >> 32
            } else {
                argument
            })
        }
    };
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let Instruction { code, jt, jf, k } = code[at];
        at += 1;
        match code {
            LOAD => accumulator = word(k),
            AND => accumulator &= k,
            JUMP => at += usize::try_from(k).unwrap(),
            JUMP_FROM => at += usize::from(if accumulator >= k { jt } else { jf }),
            JUMP_EQUAL => at += usize::from(if accumulator == k { jt } else { jf }),
            RETURN => return k,
            other => panic!("{other:#x}"),
        }
    }
}

const ALLOWED: u32 = libc::SECCOMP_RET_ALLOW;
const REFUSED: u32 = libc::SECCOMP_RET_ERRNO | 1;
const MACHINE: u32 = 7;

fn rule(call: Call, tests: &[Test]) -> Rule {
    Rule {
        call,
        tests: tests.to_vec(),
        action: Action::Allow,
    }
}

fn filter(rules: Vec<Rule>) -> Vec<Instruction> {
    let filter = Filter {
        rules,
        otherwise: Action::Refuse(Errno::PERM),
    };
    filter.compile(MACHINE).unwrap()
}

#[test]
fn what_no_rule_names_is_refused_and_so_is_another_abi() {
    let code = filter(vec![rule(Call::READ, &[]), rule(Call::WRITE, &[])]);
    let none = [0; 6];
    assert_eq!(run(&code, MACHINE, Call::READ.number(), none), ALLOWED);
    assert_eq!(run(&code, MACHINE, Call::WRITE.number(), none), ALLOWED);
    assert_eq!(run(&code, MACHINE, Call::SOCKET.number(), none), REFUSED);
    assert_eq!(run(&code, MACHINE + 1, Call::READ.number(), none), REFUSED);
}

#[test]
fn both_halves_of_an_argument_are_compared() {
    let wide = 0x1_0000_0002;
    let code = filter(vec![
        rule(Call::IOCTL, &[Test::is(1, wide)]),
        rule(Call::IOCTL, &[Test::is_int(1, 9)]),
        rule(Call::READ, &[]),
    ]);
    let ioctl = |request| {
        run(
            &code,
            MACHINE,
            Call::IOCTL.number(),
            [0, request, 0, 0, 0, 0],
        )
    };
    assert_eq!(ioctl(wide), ALLOWED);
    assert_eq!(ioctl(2), REFUSED);
    assert_eq!(ioctl(1 << 32), REFUSED);
    // The kernel cuts an `int`.
    assert_eq!((ioctl(9), ioctl(0xf_0000_0009)), (ALLOWED, ALLOWED));
    assert_eq!(run(&code, MACHINE, Call::READ.number(), [0; 6]), ALLOWED);
}

#[test]
fn each_call_is_found_among_many() {
    use Call as C;
    // Neighbours, and gaps between them; a rule that is long, so that some jumps are far.
    let calls = [
        C::READ,
        C::WRITE,
        C::CLOSE,
        C::MMAP,
        C::IOCTL,
        C::PREAD64,
        C::FSYNC,
        C::STATX,
        C::OPENAT2,
        C::FUTEX,
    ];
    let mut rules: Vec<_> = (0..200)
        .map(|request| rule(C::PRCTL, &[Test::is(0, request)]))
        .collect();
    rules.extend(calls.map(|call| rule(call, &[])));
    rules.push(Rule {
        call: C::FUTEX,
        tests: Vec::new(),
        action: Action::Refuse(Errno::XDEV),
    });
    let code = filter(rules);
    assert!(code.len() > 256);
    let prctl = |first| run(&code, MACHINE, C::PRCTL.number(), [first, 0, 0, 0, 0, 0]);
    assert_eq!(
        (prctl(0), prctl(199), prctl(200)),
        (ALLOWED, ALLOWED, REFUSED)
    );
    for number in (0..1000).filter(|&number| number != C::PRCTL.number()) {
        let named = calls.iter().any(|call| call.number() == number);
        let expected = if named { ALLOWED } else { REFUSED };
        assert_eq!(run(&code, MACHINE, number, [0; 6]), expected, "{number}");
    }
    assert_eq!(run(&code, MACHINE, u32::MAX, [0; 6]), REFUSED);
}

#[test]
fn all_tests_of_a_rule_have_to_pass() {
    let bits = Test {
        argument: 2,
        mask: 0b110,
        value: 0b010,
    };
    let code = filter(vec![rule(Call::MMAP, &[Test::is(0, 0), bits])]);
    let mmap = |a, c| run(&code, MACHINE, Call::MMAP.number(), [a, 7, c, 0, 0, 0]);
    assert_eq!(mmap(0, 0b010), ALLOWED);
    assert_eq!(mmap(0, 0b011), ALLOWED);
    assert_eq!(mmap(0, 0b110), REFUSED);
    assert_eq!(mmap(0, 0b000), REFUSED);
    assert_eq!(mmap(1, 0b010), REFUSED);
}

#[test]
fn a_thread_under_a_filter_is_refused_what_it_does_not_allow() {
    // The thread needs little to end; everything else is allowed by turning the filter round.
    let filter = Filter {
        rules: vec![Rule {
            call: Call::UNSHARE,
            tests: Vec::new(),
            action: Action::Refuse(Errno::XDEV),
        }],
        otherwise: Action::Allow,
    };
    let outcomes = std::thread::spawn(move || {
        let before = attempt(Attempt::UnshareUser);
        rustix::thread::set_no_new_privs(true).unwrap();
        filter.install(Log::Nothing).unwrap();
        [
            before,
            attempt(Attempt::UnshareUser),
            attempt(Attempt::Ptrace),
        ]
    });
    let [before, unshare, ptrace] = outcomes.join().unwrap();
    assert_eq!(before, Err(Errno::INVAL));
    assert_eq!(unshare, Err(Errno::XDEV));
    assert!(
        matches!(ptrace, Err(Errno::SRCH | Errno::PERM)),
        "{ptrace:?}"
    );
}

#[test]
fn an_attempt_does_nothing_and_fails() {
    use Attempt::{Bpf, Clone3, CloneUser, Executable, IoUring, Ptrace, UnshareUser};
    let all = [
        Bpf,
        Clone3,
        CloneUser,
        Executable,
        IoUring,
        Ptrace,
        UnshareUser,
    ];
    for call in all {
        assert!(attempt(call).is_err(), "{call:?}");
    }
}
