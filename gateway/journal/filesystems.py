"""Which file system a folder lies on, and whether a journal or a database may be kept there.

Locks and syncs of network file systems do not mean what they say, so money is not kept on them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

NETWORK_TYPES: Final = frozenset(
    (
        "nfs",
        "nfs3",
        "nfs4",
        "cifs",
        "smb",
        "smb2",
        "smb3",
        "smbfs",
        "9p",
        "afs",
        "ceph",
        "coda",
        "davfs",
        "glusterfs",
        "lustre",
        "beegfs",
        "gpfs",
        "ncpfs",
        "ocfs2",
        "orangefs",
        "pvfs2",
        "fuse.ceph",
        "fuse.glusterfs",
        "fuse.sshfs",
        "fuse.s3fs",
        "fuse.gcsfuse",
        "fuse.goofys",
        "fuse.rclone",
        "fuse.blobfuse",
        "fuse.blobfuse2",
        "fuse.juicefs",
        "fuse.davfs",
    )
)
MOUNTS: Final = Path("/proc/mounts")


class NetworkFileSystem(Exception):
    """A folder that lies on a file system of another machine."""


def file_system_of(path: Path, mounts: str) -> str:
    """The type of the file system that an absolute path lies on, by the text of /proc/mounts; `` where unknown."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        parts = line.split(" ")
        if len(parts) < 3:
            continue
        point = Path(parts[1].encode().decode("unicode_escape"))
        # Later mounts cover earlier ones at the same point.
        if (path == point or point in path.parents) and len(point.parts) >= best:
            best, kind = len(point.parts), parts[2]
    return kind


def refuse_network(path: Path) -> None:
    """Raises NetworkFileSystem. Where the system does not tell (no /proc), nothing is refused."""
    try:
        mounts = MOUNTS.read_text()
    except OSError:
        return
    kind = file_system_of(path.resolve(), mounts)
    if kind in NETWORK_TYPES:
        raise NetworkFileSystem(
            f"{path} lies on {kind}, a network file system, where locks and syncs cannot be relied on; "
            "set GATEWAY_STATE_DIR to a folder on a local disk"
        )
