"""What a file is, from its first bytes. The name is never asked.

The reasons for which a file is refused, here and in the rest of `selfsight.data`:

    missing, unreadable, symlink_loop, special_file, outside_root    the file system
    empty, not_an_image, git_lfs_pointer                             no picture inside
    format_not_allowed, unsupported_codec                            a picture that is not opened
    truncated, corrupt                                               a picture that is damaged
    decoder_failed                                                   a picture that its decoder does not survive
    changed                                                          another picture than the one that was listed
    too_many_pixels, too_many_bytes                                  a picture that is too large
    non_finite_pixels, other_format                                  a picture that does not fit
"""

from __future__ import annotations

LONGEST_MAGIC = 160  # bytes that `sniff` looks at; DICOM's mark lies at 128

ALLOWED: dict[bytes, str] = {
    b"\xff\xd8": "jpeg",
    b"\x89PNG\r\n\x1a\n": "png",
    b"GIF87a": "gif",
    b"GIF89a": "gif",
    b"BM": "bmp",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"II+\0": "tiff",
    b"MM\0+": "tiff",
    **{b"P%d%c" % (kind, space): "pnm" for kind in range(1, 7) for space in b" \t\r\n#"},
}
UNSUPPORTED: dict[bytes, str] = {
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"v/1\1": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
    b"#?RGBE": "Radiance HDR",
    b"FUJIFILM": "camera raw",
    b"IIRO": "camera raw",
    b"IIU\0": "camera raw",
}
# Formats whose decoders have had memory faults, or run programs (EPS starts Ghostscript): they stay off the list.
NOT_ALLOWED: dict[bytes, str] = {
    b"8BPS": "PSD",
    b"%!PS": "PostScript",
    b"SIMPLE  =": "FITS",
    b"\0\0\1\0": "ICO",
    b"\0\0\2\0": "CUR",
}
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


class Refused(Exception):  # noqa: N818 - a verdict; `decode` and `probe` turn it into an ImageError with the path
    """Why these bytes are not decoded."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}")


def sniff(head: bytes) -> str:
    """Name the format of a file that begins with `head`: jpeg, png, gif, bmp, tiff, pnm, webp or avif.

    Raises Refused with the reason for everything else.
    """
    if not head:
        raise Refused("empty", "0 bytes")
    if head.startswith(b"version https://git-lfs"):
        raise Refused("git_lfs_pointer", "the picture itself was not fetched; run: git lfs pull")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp":
        return _brand(head)
    if head[8:10] == b"CR" and head[:2] in (b"II", b"MM"):
        raise Refused("unsupported_codec", "camera raw; convert it to TIFF, PNG or JPEG")
    if head[128:132] == b"DICM":
        raise Refused("unsupported_codec", "DICOM; convert it to TIFF or PNG")
    if name := _match(head, UNSUPPORTED):
        raise Refused("unsupported_codec", f"{name}; convert it to TIFF, PNG or JPEG")
    if name := _match(head, NOT_ALLOWED):
        raise Refused("format_not_allowed", f"{name} is not opened, for safety; convert it to TIFF, PNG or JPEG")
    if name := _match(head, ALLOWED):
        return name
    raise Refused("not_an_image", f"begins with {head[:8]!r}")


def _match(head: bytes, table: dict[bytes, str]) -> str | None:
    return next((name for magic, name in table.items() if head.startswith(magic)), None)


def _brand(head: bytes) -> str:
    """Tell AVIF from HEIC from a film: the brands of an ISO base media file."""
    brands = {head[i : i + 4] for i in range(8, min(int.from_bytes(head[:4], "big"), len(head)), 4)}
    if brands & {b"avif", b"avis"}:
        return "avif"
    if brands & set(HEIF_BRANDS):
        raise Refused("unsupported_codec", "HEIC/HEIF; convert it to JPEG (pillow-heif, or heif-convert)")
    raise Refused("not_an_image", "a film or another ISO media file")
