"""Exercises one file, and after each operation compares what can be read with a copy in memory.

argv: FILE SECONDS SEED. FILE may exist: its content is where the copy begins. The last operations are printed when
a difference is found; the same seed gives the same operations, as far as time lets it get.
"""
import ctypes
import errno
import mmap
import os
import random
import sys
import time

SIZE_MAX = 256 * 1024
KEEP, PUNCH, ZERO = 1, 2, 16
HISTORY = 60

libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


class Different(Exception):
    pass


class File:
    def __init__(self, path, rng):
        self.path, self.rng = path, rng
        # Opened before the first change: a reader that must see all of them.
        self.reader = os.open(path, os.O_RDONLY)
        with open(path, "rb") as file:
            self.copy = bytearray(file.read())
        # Mapped before the first change, too, as far as there is something to map.
        self.old_map = mmap.mmap(self.reader, len(self.copy), prot=mmap.PROT_READ) if self.copy else None
        self.mapped = len(self.copy)
        self.fd = os.open(path, os.O_RDWR)
        self.history, self.count, self.skipped = [], {}, {}

    def span(self, end_max):
        start = self.rng.randrange(end_max)
        if self.rng.random() < 0.3:
            start -= start % 4096
        length = self.rng.choice([1, 7, 512, 4096, 10000, 65536])
        return start, min(length, end_max - start)

    def grow(self, size):
        if size > len(self.copy):
            self.copy.extend(bytes(size - len(self.copy)))

    def fill(self, length):
        return self.rng.randbytes(length)

    def do_write(self):
        start, length = self.span(SIZE_MAX)
        data = self.fill(length)
        if os.pwrite(self.fd, data, start) != length:
            raise Different("short write")
        self.grow(start + length)
        self.copy[start : start + length] = data
        return start, length

    def do_append(self):
        data = self.fill(min(self.rng.choice([1, 100, 5000]), max(SIZE_MAX - len(self.copy), 0)))
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        os.write(fd, data)
        os.close(fd)
        self.copy.extend(data)
        return (len(data),)

    def do_truncate(self):
        size = self.rng.randrange(SIZE_MAX) if self.rng.random() < 0.7 else len(self.copy) // 2
        self.rng.choice([lambda: os.ftruncate(self.fd, size), lambda: os.truncate(self.path, size)])()
        del self.copy[size:]
        self.grow(size)
        return (size,)

    def do_map_write(self):
        if not self.copy:
            return ("empty",)
        start, length = self.span(len(self.copy))
        base = start - start % mmap.ALLOCATIONGRANULARITY
        mapped = mmap.mmap(self.fd, start + length - base, offset=base)
        data = self.fill(length)
        mapped[start - base : start - base + length] = data
        if self.rng.random() < 0.5:
            mapped.flush()
        mapped.close()
        self.copy[start : start + length] = data
        return start, length

    def do_map_read(self):
        if not self.copy:
            return ("empty",)
        start, length = self.span(len(self.copy))
        base = start - start % mmap.ALLOCATIONGRANULARITY
        mapped = mmap.mmap(self.fd, start + length - base, offset=base, prot=mmap.PROT_READ)
        seen = mapped[start - base : start - base + length]
        mapped.close()
        self.expect(seen, start, length, "a mapping")
        return start, length

    def do_read(self):
        start, length = self.span(SIZE_MAX)
        fd = self.rng.choice([self.fd, self.reader])
        self.expect(os.pread(fd, length, start), start, length, "a read")
        return start, length

    def do_old_map(self):
        length = min(self.mapped, len(self.copy))
        if length == 0 or not FOLLOWS:
            return ("nothing",)
        self.expect(self.old_map[:length], 0, length, "the mapping made before the first change")
        return (length,)

    def allocate(self, mode):
        start, length = self.span(SIZE_MAX)
        if libc.fallocate(self.fd, mode, start, length) != 0:
            raise OSError(ctypes.get_errno(), "fallocate")
        if not mode & KEEP:
            self.grow(start + length)
        if mode & (PUNCH | ZERO):
            end = min(start + length, len(self.copy))
            if end > start:
                self.copy[start:end] = bytes(end - start)
        return start, length

    def do_allocate(self):
        return self.allocate(0)

    def do_reserve(self):
        return self.allocate(KEEP)

    def do_punch(self):
        return self.allocate(PUNCH | KEEP)

    def do_zero(self):
        return self.allocate(ZERO)

    def do_zero_keep(self):
        return self.allocate(ZERO | KEEP)

    def do_copy_range(self):
        if not self.copy:
            return ("empty",)
        start, length = self.span(len(self.copy))
        to = self.rng.randrange(SIZE_MAX - length + 1)
        if abs(to - start) < length:
            return ("overlap",)
        done = os.copy_file_range(self.fd, self.fd, length, start, to)
        self.grow(to + done)
        self.copy[to : to + done] = bytes(self.copy[start : start + done])
        return start, to, done

    def do_seek(self):
        """Whatever lies outside of what SEEK_DATA finds must be zero."""
        at = 0
        while at < len(self.copy):
            try:
                data = os.lseek(self.fd, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                data = len(self.copy)
            if any(self.copy[at:data]):
                raise Different(f"SEEK_DATA passes over data between {at} and {data}")
            if data >= len(self.copy):
                break
            at = os.lseek(self.fd, data, os.SEEK_HOLE)
        return ()

    def do_sync(self):
        self.rng.choice([os.fsync, os.fdatasync])(self.fd)
        return ()

    def do_forget(self):
        os.fsync(self.fd)
        os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)
        return ()

    def do_reopen(self):
        os.close(self.fd)
        self.fd = os.open(self.path, os.O_RDWR)
        return ()

    def do_attributes(self):
        os.fchmod(self.fd, self.rng.choice([0o600, 0o644]))
        os.utime(self.fd, (1_000_000_000, 1_000_000_000))
        return ()

    def expect(self, seen, start, length, who):
        want = bytes(self.copy[start : start + length])
        if seen != want:
            at = next((i for i, (a, b) in enumerate(zip(seen, want)) if a != b), min(len(seen), len(want)))
            raise Different(f"{who} at {start}, {length} bytes: {len(seen)} bytes, {len(want)} expected, "
                            f"the first other one at {start + at}")

    def check(self, whole):
        size = os.fstat(self.fd).st_size
        if size != len(self.copy):
            raise Different(f"st_size is {size}, {len(self.copy)} expected")
        if whole:
            for fd in (self.fd, self.reader):
                length = max(SIZE_MAX, len(self.copy)) + 1
                self.expect(os.pread(fd, length, 0), 0, length, "a read of all")

    def step(self, number):
        names = [name for name in dir(self) if name.startswith("do_")]
        name = self.rng.choice(names)
        try:
            details = getattr(self, name)()
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            self.skipped[name[3:]] = errno.errorcode[error.errno]
            details = ("not supported",)
        self.count[name[3:]] = self.count.get(name[3:], 0) + 1
        self.history = self.history[1 - HISTORY :] + [f"{number} {name[3:]} {details}"]
        self.check(number % 16 == 0)


# The kernel's overlayfs leaves a mapping on the lower file.
FOLLOWS = os.environ.get("MICA_OLD_MAPPINGS") == "follow"
path, seconds, seed = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
file, number, end = File(path, random.Random(seed)), 0, time.monotonic() + seconds
try:
    while time.monotonic() < end:
        number += 1
        file.step(number)
    file.check(True)
except (Different, OSError) as error:
    print("\n".join(file.history))
    print(f"DIFFERENT after {number} operations, seed {seed}: {error}")
    sys.exit(1)
print(number, " ".join(f"{name}={why}" for name, why in sorted(file.skipped.items())) or "nothing")
