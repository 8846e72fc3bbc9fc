//! Which files of a folder are the model, and several files as one model.
#![cfg(not(target_arch = "wasm32"))]

use wdelta::dtype::Dtype;
use wdelta::error::{Code, Error};
use wdelta::format::model::{assemble, choose_files, resolve_shards, FolderChoice, Model, ShardHeader, Shards};
use wdelta::format::safetensors::header::{Entry, Header};
use wdelta::format::safetensors::index::Index;
use wdelta::offset::ByteRange;

type Files = Vec<(u32, String, u64)>;

fn files(paths: &[&str]) -> Files {
    paths
        .iter()
        .enumerate()
        .map(|(i, p)| (i as u32, p.to_string(), 1))
        .collect()
}

fn choose(paths: &[&str]) -> Result<FolderChoice, Error> {
    choose_files(&files(paths))
}

fn index(map: &[(&str, &str)]) -> Index {
    let weight_map = map.iter().map(|(t, f)| (t.to_string(), f.to_string())).collect();
    Index {
        metadata: Vec::new(),
        weight_map,
    }
}

/// A file with these U8 tensors of `len` bytes, one after another.
fn shard(source: u32, path: &str, names: &[&str], len: u64) -> ShardHeader {
    let entry = |(i, name): (usize, &&str)| Entry {
        name: name.to_string(),
        dtype: Dtype::U8,
        shape: vec![1, len],
        range: ByteRange {
            offset: i as u64 * len,
            len,
        },
    };
    let header = Header {
        metadata: Vec::new(),
        tensors: names.iter().enumerate().map(entry).collect(),
    };
    ShardHeader {
        source,
        path: path.into(),
        header,
        data_offset: 100,
    }
}

#[test]
fn a_folder_without_index_gives_its_safetensors_in_name_order() {
    let folder = [
        "config.json",
        "model-2.safetensors",
        "tokenizer.json",
        "model-1.safetensors",
        "vocab.txt",
        "README.md",
    ];
    let choice = choose(&folder).unwrap();
    assert_eq!(
        choice,
        FolderChoice {
            index: None,
            shards: Shards::List(vec![3, 1]),
            side_files: vec![0, 2, 4]
        }
    );
    // Upper case before lower, as Python and our names sort.
    assert_eq!(
        choose(&["b.safetensors", "B.safetensors"]).unwrap().shards,
        Shards::List(vec![1, 0])
    );
    // What lies deeper or is hidden is no shard; of a folder below, only what is needed to load the model is taken along.
    let folder = [
        "model.safetensors",
        "onnx/model.onnx",
        "old/model.safetensors",
        "._model.safetensors",
        ".cache/x.json",
        "1_Pooling/config.json",
        "pytorch_model.bin",
        "adapter_model.safetensors",
        "adapter_config.json",
    ];
    let choice = choose(&folder).unwrap();
    assert_eq!((choice.shards, choice.side_files), (Shards::List(vec![0]), vec![5]));
}

#[test]
fn an_index_is_obeyed() {
    let folder = [
        "consolidated.safetensors",
        "model.safetensors.index.json",
        "m-1.safetensors",
        "config.json",
    ];
    let choice = choose(&folder).unwrap();
    assert_eq!(
        choice,
        FolderChoice {
            index: Some(1),
            shards: Shards::FromIndex,
            side_files: vec![3]
        }
    );
    let folder = [
        "a.safetensors.index.json",
        "model.safetensors.index.json",
        "adapter_model.safetensors.index.json",
    ];
    assert_eq!(choose(&folder).unwrap().index, Some(1));
    assert_eq!(choose(&[folder[0], folder[2], "x.safetensors"]).unwrap().index, Some(0));
    let error = choose(&["a.safetensors.index.json", "b.safetensors.index.json"]).unwrap_err();
    assert_eq!(error.code, Code::Usage);
    assert!(
        error
            .message
            .contains("a.safetensors.index.json and b.safetensors.index.json"),
        "{error}"
    );
}

#[test]
fn a_single_file_is_taken_whatever_its_name() {
    for name in ["3f2a9c", "model.safetensors", "pytorch_model.bin", ".hidden"] {
        assert_eq!(choose(&[name]).unwrap().shards, Shards::List(vec![0]), "{name}");
    }
}

#[test]
fn a_folder_without_a_model_is_refused_with_advice() {
    let cases: [(&[&str], &str); 8] = [
        (&[], "give a .safetensors file or a model folder"),
        (
            &["config.json", "tokenizer.json"],
            "give a .safetensors file or a model folder",
        ),
        (
            &["adapter_config.json", "adapter_model.safetensors"],
            "merge the adapter",
        ),
        (&["adapter_model.safetensors"], "merge the adapter"),
        (
            &["adapter_config.json", "adapter_model.bin", "tokenizer.json"],
            "merge the adapter",
        ),
        (&["config.json", "pytorch_model-00001-of-00002.bin"], "save_pretrained"),
        (&["README.md", "model.Q4_K_M.gguf"], "GGUF"),
        (
            &["model_index.json", "unet/x.safetensors"],
            "one in unet; give that folder",
        ),
    ];
    for (folder, part) in cases {
        let error = choose(folder).unwrap_err();
        assert_eq!(error.code, Code::Usage, "{folder:?}");
        assert!(error.message.contains(part), "{folder:?}: {error}");
    }
}

#[test]
fn shards_of_an_index_are_found_or_named() {
    let map = index(&[
        ("a", "m-2.safetensors"),
        ("b", "m-1.safetensors"),
        ("c", "m-2.safetensors"),
    ]);
    let folder = files(&[
        "m-2.safetensors",
        "x/m-1.safetensors",
        "m-1.safetensors",
        "m-3.safetensors",
    ]);
    assert_eq!(resolve_shards(&map, &folder).unwrap(), [2, 0]);
    let error = resolve_shards(&map, &folder[1..]).unwrap_err();
    assert_eq!(error.code, Code::MissingTensor);
    assert!(
        error
            .message
            .contains("1 of 2 shards are missing, first m-2.safetensors with 2 tensors"),
        "{error}"
    );
    assert_eq!(resolve_shards(&index(&[]), &folder).unwrap_err().code, Code::Malformed);
}

#[test]
fn files_become_one_sorted_list() {
    let shards = vec![
        shard(7, "m-1.safetensors", &["d", "a"], 10),
        shard(9, "m-2.safetensors", &["\u{ff5e}", "c", "\u{1f600}"], 4),
    ];
    let model = assemble(shards, None).unwrap();
    let names: Vec<_> = model.tensors.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["a", "c", "d", "\u{ff5e}", "\u{1f600}"]);
    let c = model.find("c").unwrap();
    assert_eq!(
        (c.file, c.source, c.range, c.elements),
        (1, 9, ByteRange { offset: 104, len: 4 }, 4)
    );
    assert_eq!(model.find("b"), None);
    assert_eq!(
        (model.shard_of("a"), model.shard_of("c"), model.shard_of("b")),
        (0, 1, 2)
    );
    assert_eq!(model.shard_groups(), ["a", "d", "c", "\u{ff5e}", "\u{1f600}"]);
    assert_eq!(model.shard_order(&["c", "d"]), ["c", "d"]);
    assert_eq!(model.data_bytes(), 32);
    assert_eq!(model.files[1].header_range, ByteRange { offset: 8, len: 92 });
    assert_eq!(model.files[0].header.tensors[0].name, "d");
    assert_eq!(assemble(Vec::new(), None).unwrap(), Model::default());
}

#[test]
fn files_that_do_not_belong_together_are_refused_by_name() {
    let two = |a: &[&str], b: &[&str]| vec![shard(0, "x/m-1.st", a, 1), shard(1, "x/m-2.st", b, 1)];
    let error = assemble(two(&["a", "b"], &["c", "b"]), None).unwrap_err();
    assert_eq!((error.code, error.tensor.as_deref()), (Code::Malformed, Some("b")));
    assert!(error.message.contains("x/m-1.st and in x/m-2.st"), "{error}");

    let map = index(&[("a", "m-1.st"), ("b", "m-1.st"), ("c", "m-2.st")]);
    assert!(assemble(two(&["a", "b"], &["c"]), Some(map.clone())).is_ok());
    let error = assemble(two(&["a"], &["c"]), Some(map.clone())).unwrap_err();
    assert_eq!((error.code, error.tensor.as_deref()), (Code::MissingTensor, Some("b")));
    let error = assemble(two(&["a"], &["b", "c"]), Some(map.clone())).unwrap_err();
    assert_eq!(
        (error.code, error.tensor.as_deref(), error.source_id),
        (Code::Malformed, Some("b"), Some(1))
    );
    assert!(
        error
            .message
            .contains("m-2.st holds the tensor \"b\", but the shard index puts it into m-1.st"),
        "{error}"
    );
    let error = assemble(two(&["a", "b"], &["c", "d"]), Some(map)).unwrap_err();
    assert!(
        error.message.contains("\"d\", but the shard index does not list it"),
        "{error}"
    );
}

#[test]
fn adapters_are_recognised_by_their_tensors() {
    for name in [
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
        "unet.down.lora_up.weight",
    ] {
        let error = assemble(vec![shard(0, "renamed.safetensors", &["a", name], 1)], None).unwrap_err();
        assert_eq!((error.code, error.tensor.as_deref()), (Code::Usage, Some(name)));
        assert!(
            error.message.contains("renamed.safetensors is a LoRA adapter"),
            "{error}"
        );
    }
    assert!(assemble(vec![shard(0, "m", &["explora_A.weight", "lora_alpha"], 1)], None).is_ok());
}

#[test]
fn places_past_u64_are_refused() {
    let mut far = shard(0, "m", &["a"], 1);
    far.data_offset = u64::MAX;
    assert_eq!(assemble(vec![far], None).unwrap_err().code, Code::Malformed);
}
