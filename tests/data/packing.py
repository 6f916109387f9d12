"""Zip and tar.gz files with members of any name and kind."""

import io
import stat
import tarfile
import warnings
import zipfile

TYPES = {
    "file": tarfile.REGTYPE,
    "folder": tarfile.DIRTYPE,
    "link": tarfile.SYMTYPE,
    "hard link": tarfile.LNKTYPE,
    "device": tarfile.CHRTYPE,
    "pipe": tarfile.FIFOTYPE,
}
MODES = {"link": stat.S_IFLNK, "hard link": stat.S_IFLNK, "device": stat.S_IFCHR}
MODES |= {"file": stat.S_IFREG, "folder": stat.S_IFDIR, "pipe": stat.S_IFIFO}


def zipped(file, members):
    with zipfile.ZipFile(file, "w") as pack, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of names that are there twice
        for name, kind, content in members:
            info = zipfile.ZipInfo("x")
            info.filename = name + "/" * (kind == "folder")
            info.external_attr = (MODES[kind] | 0o6777) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            pack.writestr(info, content)


def tarred(file, members, form=tarfile.PAX_FORMAT):
    with tarfile.open(file, "w:gz", format=form, compresslevel=1) as pack:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode = TYPES[kind], 0o6777
            info.linkname = "../canary" * kind.endswith("link")
            info.size = len(content) * (kind == "file")
            pack.addfile(info, io.BytesIO(content))
