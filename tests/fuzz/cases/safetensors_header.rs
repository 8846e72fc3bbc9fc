//! The header of a safetensors file: what comes out keeps the format's rules, and the `safetensors` crate agrees.
//!
//! An input is the start of a file: eight bytes of length, the header, and as many bytes of data as follow.

use safetensors::SafeTensors;
use wdelta::error::Code;
use wdelta::format::safetensors::{header, writer};

/// Reads one input; panics where what must hold does not.
pub fn run(file: &[u8]) {
    let Some((first8, rest)) = file.split_first_chunk::<8>() else {
        return;
    };
    let Ok(len) = header::header_len(*first8, file.len() as u64) else {
        return;
    };
    let (json, data) = rest.split_at(len as usize);
    let theirs = SafeTensors::read_metadata(file);
    let ours = match header::parse_header(json, data.len() as u64) {
        Ok(header) => header,
        Err(e) => {
            assert_ne!(e.code, Code::Internal, "{e}");
            // What is beyond our limits is ours alone to refuse, and so are names that come twice, whatever else is wrong with
            // the one that the crate forgets.
            let key = br#""data_offsets""#;
            let given = json.windows(key.len()).filter(|part| part == key).count();
            let own = e.code == Code::Limit || theirs.as_ref().is_ok_and(|(_, m)| m.tensors().len() < given);
            assert!(
                theirs.is_err() || own || e.message.contains("twice"),
                "the safetensors crate takes it, and we say: {e}"
            );
            return;
        }
    };

    let mut ranges: Vec<_> = ours.tensors.iter().map(|t| (t.range.offset, t.range.end())).collect();
    ranges.sort_unstable();
    let end = ranges.iter().fold(0, |end, &(from, to)| {
        assert_eq!(from, end, "a hole or an overlap");
        to
    });
    assert_eq!(end, data.len() as u64);

    if let Ok((_, metadata)) = theirs {
        let tensors = metadata.tensors();
        assert_eq!(tensors.len(), ours.tensors.len());
        for t in &ours.tensors {
            let info = tensors[&t.name];
            let shape: Vec<u64> = info.shape.iter().map(|&n| n as u64).collect();
            let offsets = (t.range.offset as usize, t.range.end() as usize);
            assert_eq!((&shape, info.data_offsets), (&t.shape, offsets), "{}", t.name);
        }
    }

    // What the writer makes of it reads the same.
    let mut entries = ours.tensors.clone();
    entries.sort_by_key(|e| (e.range.offset, e.range.len));
    let written = writer::header_bytes(&ours.metadata, &entries);
    let again = header::parse_header(&written[8..], data.len() as u64).expect("our own header");
    assert_eq!(again.metadata, ours.metadata);
    assert_eq!(again.tensors.len(), ours.tensors.len());
}
