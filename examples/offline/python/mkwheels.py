"""Packs the Python distributions of a directory as wheels.

    mkwheels.py DIST_PACKAGES WHEELS

Debian unpacks distributions, with an egg-info or dist-info directory beside
the modules; pip installs wheels. What lies between is an archive with a list
of its files (PEP 427).
"""
import base64
import email.parser
import hashlib
import importlib.machinery
import pathlib
import re
import sysconfig
import sys
import zipfile


# Debian's Flask has lost these: there the packages depend on each other.
LOST = {
    "Flask": ["Werkzeug>=2.2", "Jinja2>=3.0", "itsdangerous>=2.0", "click>=8.0"],
    "Jinja2": ["MarkupSafe>=2.0"],
    "Werkzeug": ["MarkupSafe>=2.1"],
}


def requirements(info):
    """The Requires-Dist lines of a metadata directory."""
    meta = metadata(info)
    listed = info / "requires.txt"  # of an egg: sections in brackets are optional
    if listed.exists():
        plain = [l.strip() for l in listed.read_text().split("[")[0].splitlines() if l.strip()]
    else:
        plain = meta.get_all("Requires-Dist") or []
    return plain or LOST.get(meta["Name"], [])


def metadata(info):
    for name in ("METADATA", "PKG-INFO"):
        if (info / name).exists():
            return email.parser.Parser().parsestr((info / name).read_text(encoding="utf-8"))
    sys.exit(f"{info}: neither METADATA nor PKG-INFO")


def modules(site, info, name):
    """The top-level files and directories that belong to a distribution."""
    listed = info / "top_level.txt"
    tops = listed.read_text().split() if listed.exists() else [name.lower().replace("-", "_")]
    for top in tops:
        yield from sorted(p for p in (site / top, site / f"{top}.py") if p.exists())


def contents(site, roots):
    """What goes into a wheel: (name in the archive, bytes), in order."""
    for root in roots:
        for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
            if path.is_file() and path.suffix != ".pyc":  # a dangling link is no file
                yield path.relative_to(site).as_posix(), path.read_bytes()


def tag_of(files):
    suffixes = tuple(importlib.machinery.EXTENSION_SUFFIXES)
    if not any(name.endswith(suffixes) for name, _ in files):
        return "py3-none-any"
    version = f"cp{sys.version_info.major}{sys.version_info.minor}"
    return f"{version}-{version}-{re.sub('[-.]', '_', sysconfig.get_platform())}"


def line(name, content):
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}\n"


def pack(site, info, out):
    meta = metadata(info)
    name, version = meta["Name"].replace("-", "_"), meta["Version"]
    files = list(contents(site, modules(site, info, meta["Name"])))
    if not files:
        sys.exit(f"{info}: no modules")
    tag = tag_of(files)
    requires = "".join(f"Requires-Dist: {r}\n" for r in requirements(info))
    folder = f"{name}-{version}.dist-info"
    files += [
        (f"{folder}/METADATA", f"Metadata-Version: 2.1\nName: {meta['Name']}\nVersion: {version}\n{requires}".encode()),
        (f"{folder}/WHEEL", f"Wheel-Version: 1.0\nGenerator: mkwheels\nRoot-Is-Purelib: {str(tag == 'py3-none-any').lower()}\nTag: {tag}\n".encode()),
    ]
    if (info / "entry_points.txt").exists():
        files.append((f"{folder}/entry_points.txt", (info / "entry_points.txt").read_bytes()))
    record = "".join(line(n, c) for n, c in files) + f"{folder}/RECORD,,\n"
    files.append((f"{folder}/RECORD", record.encode()))
    wheel = out / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for n, c in files:  # a fixed time: the same files give the same wheel
            archive.writestr(zipfile.ZipInfo(n, (2020, 1, 1, 0, 0, 0)), c)
    print(wheel.name)


def main():
    site, out = map(pathlib.Path, sys.argv[1:3])
    for info in sorted(p for p in site.iterdir() if p.suffix in (".egg-info", ".dist-info") and p.is_dir()):
        pack(site, info, out)


main()
