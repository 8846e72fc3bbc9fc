//! What a file is, from its first bytes, and what to tell the user who gave it in the wrong place.

use super::folder::{adapter_error, is_adapter_file};
use super::v1;
use crate::error::{Code, Error};

/// What the first bytes say that a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A `.wdelta` file of this version.
    Wdelta {
        /// The version that it names, whether known or not.
        version: u32,
    },
    /// The start of a `.wdelta` file that ends before its version.
    WdeltaCut,
    /// A safetensors file: a plausible header length, then JSON.
    Safetensors,
    /// A zip archive, which is what PyTorch writes today (`.bin`, `.pt`, `.pth`), or another one (`.npz`).
    Zip,
    /// A Python pickle: an older PyTorch checkpoint.
    Pickle,
    /// A GGUF file of llama.cpp.
    Gguf,
    /// An HDF5 file, such as Keras weights.
    Hdf5,
    /// An ONNX graph.
    Onnx,
    /// JSON text, such as a config or an index.
    Json,
    /// A Git LFS pointer: three lines of text in place of the file.
    LfsPointer,
    /// A web page, saved in place of the file.
    Html,
    /// A gzip, zstd, xz, bzip2 or 7z archive.
    Compressed,
    /// No bytes at all.
    Empty,
    /// None of these.
    Unknown,
}

/// Longest safetensors header that still counts as plausible, 1 TiB: far above what is read, so that a header that is
/// merely too long is reported as that, and far below any text or archive seen as a number.
const PLAUSIBLE_HEADER: u64 = 1 << 40;

/// Tells what a file is from its first bytes; 16 are enough. A shorter `head` means a shorter file.
pub fn sniff(head: &[u8]) -> Kind {
    if head.is_empty() {
        return Kind::Empty;
    }
    if let Some(rest) = head.strip_prefix(&v1::MAGIC) {
        return match rest.first_chunk() {
            Some(version) => Kind::Wdelta {
                version: u32::from_le_bytes(*version),
            },
            None => Kind::WdeltaCut,
        };
    }
    // Before the others: the low bytes of a header length can look like any of them.
    if let (Some(len), Some(first)) = (head.first_chunk(), head.get(8)) {
        let len = u64::from_le_bytes(*len);
        if (2..PLAUSIBLE_HEADER).contains(&len) && b"{ \t\r\n".contains(first) {
            return Kind::Safetensors;
        }
    }
    const SIGNATURES: [(&[u8], Kind); 13] = [
        (b"PK\x03\x04", Kind::Zip),
        (b"GGUF", Kind::Gguf),
        (b"\x89HDF\r\n\x1a\n", Kind::Hdf5),
        (b"version https:/", Kind::LfsPointer),
        (b"<!DOCTYPE", Kind::Html),
        (b"<!doctype", Kind::Html),
        (b"<html", Kind::Html),
        (b"<HTML", Kind::Html),
        (b"\x1f\x8b", Kind::Compressed),
        (b"\x28\xb5\x2f\xfd", Kind::Compressed),
        (b"\xfd7zXZ\0", Kind::Compressed),
        (b"BZh", Kind::Compressed),
        (b"7z\xbc\xaf\x27\x1c", Kind::Compressed),
    ];
    if let Some((_, kind)) = SIGNATURES.iter().find(|(bytes, _)| head.starts_with(bytes)) {
        return *kind;
    }
    match *head {
        [0x80, 2..=5, ..] => Kind::Pickle,
        // Protobuf: field 1 is the IR version; the producer's name (2) or the graph (7) follows.
        [0x08, 1..=32, 0x12 | 0x3a, ..] => Kind::Onnx,
        _ if matches!(head.trim_ascii_start(), [b'{' | b'[', ..]) => Kind::Json,
        _ => Kind::Unknown,
    }
}

const TO_SAFETENSORS: &str =
    "use the .safetensors files of the same model, or load it with transformers and save it with \
     save_pretrained(folder, safe_serialization=True)";

impl Kind {
    /// What it is and what to do, wherever it was given.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Kind::Wdelta { .. } => ("a .wdelta file", "give it as a delta"),
            Kind::WdeltaCut => ("the first bytes of a .wdelta file", "get the file again"),
            Kind::Safetensors => ("a safetensors file", "give it as a model"),
            Kind::Zip => ("a zip archive, such as a PyTorch checkpoint", TO_SAFETENSORS),
            Kind::Pickle => ("a Python pickle, such as an older PyTorch checkpoint", TO_SAFETENSORS),
            Kind::Gguf => (
                "a GGUF file of llama.cpp",
                "GGUF weights are requantized; use the safetensors model that it was made from",
            ),
            Kind::Hdf5 => ("an HDF5 file, such as Keras weights", TO_SAFETENSORS),
            Kind::Onnx => (
                "an ONNX graph",
                "use the safetensors model that it was exported from",
            ),
            Kind::Json => (
                "a JSON text, such as a config or an index",
                "give the .safetensors file itself, or the folder with the index and all its shards",
            ),
            Kind::LfsPointer => (
                "a Git LFS pointer of three lines, not the file itself",
                "run `git lfs pull` where it was cloned, or download the file",
            ),
            Kind::Html => (
                "a web page, not the file itself",
                "download the file behind the page (a Hugging Face link needs /resolve/ in place of /blob/, and a private one a login)",
            ),
            Kind::Compressed => ("a compressed archive", "unpack it first"),
            Kind::Empty => ("empty", "get the file again"),
            Kind::Unknown => ("of no kind that wdelta knows", "get the file again if it should be one"),
        }
    }
}

/// The error for a file given as a model, or part of one, that is not a safetensors file.
///
/// `name` is the file's name. `USAGE` for a file of another kind, `MALFORMED` for bytes of no known kind, `TRUNCATED` for
/// none at all.
pub fn not_a_model(kind: Kind, name: &str) -> Error {
    if is_adapter_file(name) {
        return adapter_error(name);
    }
    let (what, advice) = kind.words();
    let code = match kind {
        Kind::Empty => Code::Truncated,
        Kind::Unknown => Code::Malformed,
        _ => Code::Usage,
    };
    Error::new(
        code,
        format!("{name}: a model in safetensors files is wanted, but this file is {what}; {advice}"),
    )
}

/// The error for a file given as a delta that is not one, or is one of a version that is not known.
///
/// `head` is what [`sniff`] saw.
pub fn not_a_delta(kind: Kind, head: &[u8]) -> Error {
    let (what, advice) = kind.words();
    match kind {
        Kind::Wdelta { version } => Error::new(
            Code::UnsupportedVersion,
            format!("the file is a .wdelta file of version {version}, which this wdelta does not know; update wdelta"),
        )
        .at(v1::MAGIC.len() as u64),
        Kind::WdeltaCut => Error::new(
            Code::Truncated,
            format!("the file ends after {} bytes, inside its first fields; get it again", head.len()),
        ),
        Kind::Safetensors => Error::new(
            Code::NotWdelta,
            "a .wdelta file is wanted, but this file is a safetensors file; if it is the base or the fine-tune, give it \
             as that",
        ),
        Kind::Unknown => Error::new(
            Code::NotWdelta,
            format!("the file is not a .wdelta file: it starts with {}, not with \"wdelta\\0\"", shown(head)),
        ),
        _ => Error::new(
            Code::NotWdelta,
            format!("a .wdelta file is wanted, but this file is {what}; {advice}"),
        ),
    }
}

/// The first bytes, readable.
fn shown(head: &[u8]) -> String {
    format!("\"{}\"", head[..head.len().min(8)].escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_files_apart() {
        let cases: [(&[u8], Kind); 22] = [
            (b"", Kind::Empty),
            (b"w", Kind::Unknown),
            (b"wdelta\0", Kind::WdeltaCut),
            (b"wdelta\0\x01\0\0", Kind::WdeltaCut),
            (b"wdelta\0\x01\0\0\0", Kind::Wdelta { version: 1 }),
            (b"wdelta\0\x02\0\0\0junk", Kind::Wdelta { version: 2 }),
            (b"Wdelta\0\x01\0\0\0....", Kind::Unknown),
            (b"\x02\0\0\0\0\0\0\0{}", Kind::Safetensors),
            (b"\x80\x02\0\0\0\0\0\0{\"a\"", Kind::Safetensors),
            (b"PK\x03\x04\0\0\0\0{\"a\":1", Kind::Safetensors),
            (b"\x01\0\0\0\0\0\0\0{", Kind::Unknown),
            (b"PK\x03\x04\x14\0\0\0\x08\0", Kind::Zip),
            (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", Kind::Pickle),
            (b"GGUF\x03\0\0\0\x22\x01\0\0\0\0\0\0", Kind::Gguf),
            (b"\x89HDF\r\n\x1a\n\0\0\0\0", Kind::Hdf5),
            (b"\x08\x08\x12\x07pytorch", Kind::Onnx),
            (b"{\n  \"architectures\"", Kind::Json),
            (b"  [1]", Kind::Json),
            (b"version https://git-lfs", Kind::LfsPointer),
            (b"<!doctype html><ht", Kind::Html),
            (b"\x28\xb5\x2f\xfd\x04", Kind::Compressed),
            (&[0; 16], Kind::Unknown),
        ];
        for (head, kind) in cases {
            // 16 bytes decide, and what comes after them does not.
            assert_eq!(sniff(head), kind, "{:?}", head.escape_ascii().to_string());
            assert_eq!(sniff(&head[..head.len().min(16)]), kind);
        }
    }

    const KINDS: [Kind; 15] = [
        Kind::Wdelta { version: 1 },
        Kind::Wdelta { version: 7 },
        Kind::WdeltaCut,
        Kind::Safetensors,
        Kind::Zip,
        Kind::Pickle,
        Kind::Gguf,
        Kind::Hdf5,
        Kind::Onnx,
        Kind::Json,
        Kind::LfsPointer,
        Kind::Html,
        Kind::Compressed,
        Kind::Empty,
        Kind::Unknown,
    ];

    #[test]
    fn a_wrong_file_is_named_and_has_advice() {
        for kind in KINDS {
            let error = not_a_model(kind, "pytorch_model.bin");
            assert!(error.message.starts_with("pytorch_model.bin: "), "{error}");
            assert!(matches!(error.code, Code::Usage | Code::Malformed | Code::Truncated));
            let error = not_a_delta(kind, b"PK\x03\x04");
            assert!(matches!(
                error.code,
                Code::NotWdelta | Code::UnsupportedVersion | Code::Truncated
            ));
        }
        assert!(not_a_model(Kind::Zip, "x.bin").message.contains("save_pretrained"));
        assert!(not_a_model(Kind::Zip, "lora/adapter_model.bin")
            .message
            .contains("merge the adapter"));
        assert!(not_a_model(Kind::Gguf, "x").message.contains("GGUF"));
        assert!(not_a_model(Kind::Wdelta { version: 1 }, "x")
            .message
            .contains("as a delta"));
        assert_eq!(
            not_a_delta(Kind::Wdelta { version: 9 }, b"").code,
            Code::UnsupportedVersion
        );
        assert!(not_a_delta(Kind::Safetensors, b"").message.contains("give it as that"));
        assert!(not_a_delta(Kind::Unknown, b"\x00ELF\xff")
            .message
            .contains(r"\x00ELF\xff"));
    }
}
