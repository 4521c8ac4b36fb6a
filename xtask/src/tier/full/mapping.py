"""Stores into a shared mapping of argv[1] until the disk is full; prints what msync, fsync and close said."""
import errno
import mmap
import os
import sys

PAGES = 1024


def said(call):
    try:
        call()
        return "ok"
    except OSError as error:
        return errno.errorcode[error.errno]


fd = os.open(sys.argv[1], os.O_RDWR)
other = os.open(sys.argv[1], os.O_RDWR)
os.ftruncate(fd, PAGES * 4096)
mapped = mmap.mmap(fd, PAGES * 4096)
for page in range(PAGES):
    mapped[page * 4096 : (page + 1) * 4096] = (b"stored %6d\n" % page).ljust(4096, b"s")
print(said(mapped.flush), said(lambda: os.fsync(fd)), said(lambda: os.fsync(other)))
