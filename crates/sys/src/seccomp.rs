//! Filters on system calls: seccomp(2), compiled to classic BPF.
//!
//! The crate `seccompiler` was considered: it knows one action for all calls that match and no
//! `SECCOMP_FILTER_FLAG_LOG`, and both are needed here.

#![allow(unsafe_code, reason = "rustix has no seccomp filters")]

use rustix::io::Errno;

use crate::call::ret;

mod number;

pub use number::Call;

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is made.
    Allow,
    /// It is not made, and fails with this error.
    Refuse(Errno),
}

/// What an argument has to be: after `mask`, equal to `value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Test {
    /// Which argument, from 0 to 5.
    pub argument: u8,
    /// The bits that are looked at.
    pub mask: u64,
    /// What they have to be.
    pub value: u64,
}

impl Test {
    /// The whole argument is `value`.
    #[must_use]
    pub const fn is(argument: u8, value: u64) -> Self {
        Self {
            argument,
            mask: u64::MAX,
            value,
        }
    }

    /// An `int` argument is `value`; the kernel does not look at its upper half.
    #[must_use]
    pub const fn is_int(argument: u8, value: u32) -> Self {
        Self {
            argument,
            mask: u32::MAX as u64,
            value: value as u64,
        }
    }
}

/// What happens to a call whose arguments pass all tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The call.
    pub call: Call,
    /// On its arguments; none for whatever they are.
    pub tests: Vec<Test>,
    /// What happens to it.
    pub action: Action,
}

/// A filter: of the rules for a call the first one that fits decides.
///
/// Kernels from 5.11 on remember which calls are allowed whatever their arguments are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The rules.
    pub rules: Vec<Rule>,
    /// What happens to all other calls, those of other ABIs of the machine among them.
    pub otherwise: Action,
}

/// Whether the kernel's log tells of refused calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// It does, where `kernel.seccomp.actions_logged` has `errno`, as it has by default.
    Refusals,
    /// It does not.
    Nothing,
}

/// `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

/// `struct sock_fprog`.
#[repr(C)]
struct Program {
    len: u16,
    filter: *const Instruction,
}

/// `BPF_LD | BPF_W | BPF_ABS`
const LOAD: u16 = 0x20;
/// `BPF_ALU | BPF_AND | BPF_K`
const AND: u16 = 0x54;
/// `BPF_JMP | BPF_JEQ | BPF_K`
const JUMP_EQUAL: u16 = 0x15;
/// `BPF_JMP | BPF_JGE | BPF_K`
const JUMP_FROM: u16 = 0x35;
/// `BPF_JMP | BPF_JA`
const JUMP: u16 = 0x05;
/// `BPF_RET | BPF_K`
const RETURN: u16 = 0x06;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

/// `AUDIT_ARCH_*` of the ABI that this program is built for, where this module knows it.
const NATIVE: Option<u32> = if cfg!(all(target_arch = "x86_64", target_pointer_width = "64")) {
    Some(0xc000_003e)
} else if cfg!(all(target_arch = "aarch64", target_endian = "little")) {
    Some(0xc000_00b7)
} else {
    None
};

impl Filter {
    /// Puts the filter over the calling thread and those that it starts from now on, for good.
    ///
    /// # Errors
    ///
    /// - `EACCES`: neither `no_new_privs` nor `CAP_SYS_ADMIN`.
    /// - `EINVAL`: more rules than fit, or the kernel has no filters.
    /// - `EOPNOTSUPP`: a machine that this module does not know.
    pub fn install(&self, log: Log) -> Result<(), Errno> {
        let code = self.compile(NATIVE.ok_or(Errno::OPNOTSUPP)?)?;
        let program = Program {
            len: u16::try_from(code.len()).map_err(|_| Errno::INVAL)?,
            filter: code.as_ptr(),
        };
        // Without SPEC_ALLOW older kernels slow the whole program down (SSBD), which reads no secrets of its own.
        let flags = match log {
            Log::Refusals => libc::SECCOMP_FILTER_FLAG_LOG | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            Log::Nothing => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
        };
        // SAFETY: `program` names the `len` instructions of `code`, which lives across the call; the kernel copies them.
        let value = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                flags,
                &raw const program,
            )
        };
        ret(value).map(drop)
    }

    /// Compiles a search for the number. A kernel from 5.11 on goes through the filter for each number that there is when it is
    /// installed, and by a list that would take a third of a millisecond.
    fn compile(&self, arch: u32) -> Result<Vec<Instruction>, Errno> {
        let otherwise = outcome(self.otherwise);
        let mut code = vec![load(ARCH), jump_equal(arch, 1, 0), otherwise, load(NUMBER)];
        code.append(&mut search(&self.ranges()?)?);
        Ok(code)
    }

    /// Divides the numbers into ranges to each of which the same happens. The first one begins with 0.
    fn ranges(&self) -> Result<Vec<Range>, Errno> {
        let mut numbers: Vec<u32> = self.rules.iter().map(|rule| rule.call.number()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let otherwise = vec![outcome(self.otherwise)];
        let mut ranges = vec![(0, otherwise.clone())];
        let mut begin = |first: u32, code: Vec<Instruction>| {
            ranges.pop_if(|last| last.0 == first);
            if ranges.last().is_none_or(|last| last.1 != code) {
                ranges.push((first, code));
            }
        };
        for number in numbers {
            begin(number, self.decide(number)?);
            begin(
                number.checked_add(1).ok_or(Errno::INVAL)?,
                otherwise.clone(),
            );
        }
        Ok(ranges)
    }

    /// Compiles what happens to the calls of one number.
    fn decide(&self, number: u32) -> Result<Vec<Instruction>, Errno> {
        let mut code = Vec::new();
        for rule in self
            .rules
            .iter()
            .filter(|rule| rule.call.number() == number)
        {
            let mut body = vec![outcome(rule.action)];
            // The last test first: each needs to know how far it is to the end.
            for test in rule.tests.iter().rev() {
                let mut whole = test.code(body.len() + 1)?;
                whole.append(&mut body);
                body = whole;
            }
            code.append(&mut body);
            if rule.tests.is_empty() {
                return Ok(code);
            }
        }
        code.push(outcome(self.otherwise));
        Ok(code)
    }
}

/// The first number of a range, and what happens to its calls.
type Range = (u32, Vec<Instruction>);

/// Compiles the search for the range in which the number is that was loaded.
fn search(ranges: &[Range]) -> Result<Vec<Instruction>, Errno> {
    let (below, above) = ranges.split_at(ranges.len() / 2);
    let (first, code) = above.first().ok_or(Errno::INVAL)?;
    if below.is_empty() {
        return Ok(code.clone());
    }
    let (mut below, mut above) = (search(below)?, search(above)?);
    let mut code = match u8::try_from(below.len()) {
        Ok(length) => vec![jump_from(*first, length, 0)],
        // Further than a condition jumps.
        Err(_) => vec![jump_from(*first, 0, 1), jump(below.len())?],
    };
    code.append(&mut below);
    code.append(&mut above);
    Ok(code)
}

impl Test {
    /// Compiles the test; if it fails, it goes on `rest - 1` instructions behind its own.
    fn code(self, rest: usize) -> Result<Vec<Instruction>, Errno> {
        let at = ARGUMENTS + 8 * u32::from(self.argument);
        let halves = [
            (at + 4, self.mask >> 32, self.value >> 32),
            (at, self.mask, self.value),
        ];
        let mut code: Vec<Instruction> = Vec::new();
        for (offset, mask, value) in halves.into_iter().rev() {
            let [mask, value] = [mask, value].map(low_half);
            if mask == 0 {
                continue;
            }
            let fail = u8::try_from(code.len() + rest - 1).map_err(|_| Errno::INVAL)?;
            let mut half = vec![load(offset)];
            if mask != u32::MAX {
                half.push(Instruction {
                    code: AND,
                    jt: 0,
                    jf: 0,
                    k: mask,
                });
            }
            half.push(jump_equal(value, 0, fail));
            half.append(&mut code);
            code = half;
        }
        Ok(code)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the other half is looked at apart"
)]
const fn low_half(value: u64) -> u32 {
    value as u32
}

const fn load(k: u32) -> Instruction {
    Instruction {
        code: LOAD,
        jt: 0,
        jf: 0,
        k,
    }
}

fn jump(over: usize) -> Result<Instruction, Errno> {
    Ok(Instruction {
        code: JUMP,
        jt: 0,
        jf: 0,
        k: u32::try_from(over).map_err(|_| Errno::INVAL)?,
    })
}

const fn jump_from(k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction {
        code: JUMP_FROM,
        jt,
        jf,
        k,
    }
}

const fn jump_equal(k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction {
        code: JUMP_EQUAL,
        jt,
        jf,
        k,
    }
}

fn outcome(action: Action) -> Instruction {
    let k = match action {
        Action::Allow => libc::SECCOMP_RET_ALLOW,
        Action::Refuse(errno) => libc::SECCOMP_RET_ERRNO | errno.raw_os_error().unsigned_abs(),
    };
    Instruction {
        code: RETURN,
        jt: 0,
        jf: 0,
        k,
    }
}

/// A call that a program under a filter tries, to see it refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// bpf(2), a command that there is not
    Bpf,
    /// clone(2) into a user namespace, without a stack and with flags that exclude each other
    CloneUser,
    /// clone3(2), without arguments
    Clone3,
    /// mmap(2) of nothing, to be executed
    Executable,
    /// io_uring_setup(2), without parameters
    IoUring,
    /// ptrace(2), a request that there is not
    Ptrace,
    /// unshare(2) of the user namespace, with a flag that there is not
    UnshareUser,
}

/// Makes a call whose arguments are wrong, so that it does nothing where no filter refuses it.
///
/// # Errors
///
/// Always: what the filter says, or else what the kernel says of the arguments.
pub fn attempt(attempt: Attempt) -> Result<(), Errno> {
    const NONE: libc::c_long = 0;
    const BAD: libc::c_long = -1;
    let user = libc::c_long::from(libc::CLONE_NEWUSER);
    let (call, arguments) = match attempt {
        Attempt::Bpf => (libc::SYS_bpf, [BAD, NONE, NONE]),
        // CLONE_SIGHAND without CLONE_VM is EINVAL.
        Attempt::CloneUser => (
            libc::SYS_clone,
            [user | libc::c_long::from(libc::CLONE_SIGHAND), NONE, NONE],
        ),
        Attempt::Clone3 => (libc::SYS_clone3, [NONE, NONE, NONE]),
        // A length of 0 is EINVAL.
        Attempt::Executable => (
            libc::SYS_mmap,
            [NONE, NONE, libc::c_long::from(libc::PROT_EXEC)],
        ),
        Attempt::IoUring => (libc::SYS_io_uring_setup, [NONE, NONE, NONE]),
        Attempt::Ptrace => (libc::SYS_ptrace, [BAD, BAD, NONE]),
        // CLONE_SETTLS is none of unshare(2): EINVAL.
        Attempt::UnshareUser => (
            libc::SYS_unshare,
            [user | libc::c_long::from(libc::CLONE_SETTLS), NONE, NONE],
        ),
    };
    let [a, b, c] = arguments;
    // SAFETY: each of the calls above checks its arguments and fails on them before it touches memory or makes a
    // process: none is a pointer but NULL.
    let value = unsafe { libc::syscall(call, a, b, c, NONE, NONE, NONE) };
    ret(value).map(drop)
}

#[cfg(test)]
mod tests;
