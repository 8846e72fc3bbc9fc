//! The format layer against every file that the reference wrote: headers re-created, records found, hashes in the
//! right order.
#![cfg(not(target_arch = "wasm32"))]

use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use wdelta::error::Code;
use wdelta::format::model::{assemble, choose_files, resolve_shards, Model, ShardHeader, Shards};
use wdelta::format::safetensors::header::{header_len, parse_header as parse_safetensors};
use wdelta::format::safetensors::index::{parse_index, rewrite_index};
use wdelta::format::safetensors::writer::header_bytes;
use wdelta::format::v1::header::{parse_header, V1Header};
use wdelta::format::v1::parent_hash::{record_order_for_paths, shard_groups, sorted};
use wdelta::format::v1::placed::{expected_header, predict, Placed};
use wdelta::format::v1::walker::Walker;
use wdelta::format::v1::writer::{header_json, preamble, HeaderPlan, HeaderTensor, RecordLayout};
use wdelta::format::{not_a_delta, sniff, Kind};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

fn read(path: &str) -> Vec<u8> {
    std::fs::read(root().join(path)).unwrap()
}

fn manifest() -> serde_json::Value {
    serde_json::from_slice(&read("manifest.json")).unwrap()
}

/// The paths of a model: one, or a list of shards.
fn paths(model: &serde_json::Value) -> Vec<String> {
    match model {
        serde_json::Value::Array(shards) => shards.iter().map(|s| s.as_str().unwrap().to_owned()).collect(),
        one => vec![one.as_str().unwrap().to_owned()],
    }
}

fn shard(source: u32, path: &str) -> ShardHeader {
    let file = read(path);
    assert_eq!(sniff(&file[..16]), Kind::Safetensors);
    let len = header_len(file[..8].try_into().unwrap(), file.len() as u64).unwrap();
    let data_offset = 8 + len;
    let header = parse_safetensors(&file[8..data_offset as usize], file.len() as u64 - data_offset).unwrap();
    ShardHeader {
        source,
        path: path.to_owned(),
        header,
        data_offset,
    }
}

fn model(paths: &[String]) -> Model {
    let mut paths = paths.to_vec();
    paths.sort();
    let shards = paths
        .iter()
        .enumerate()
        .map(|(i, path)| shard(i as u32, path))
        .collect();
    assemble(shards, None).unwrap()
}

fn names(model: &Model) -> Vec<String> {
    model.tensors.iter().map(|t| t.name.clone()).collect()
}

/// `format::v1` 6 over the models' files.
fn hash(model: &Model, paths: &[String], order: &[String]) -> String {
    let mut paths = paths.to_vec();
    paths.sort();
    let files: Vec<_> = paths.iter().map(|p| read(p)).collect();
    let mut hasher = Sha256::new();
    for name in order {
        let t = model.find(name).unwrap();
        hasher.update(name);
        hasher.update(&files[t.file][t.range.offset as usize..t.range.end() as usize]);
    }
    hasher.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

fn v1_header(file: &[u8]) -> (V1Header, u64) {
    assert_eq!(sniff(&file[..16]), Kind::Wdelta { version: 1 });
    let len = u32::from_le_bytes(file[11..15].try_into().unwrap()) as usize;
    (parse_header(&file[15..15 + len]).unwrap(), 15 + len as u64)
}

fn walk(header: &V1Header, header_end: u64, file: &[u8]) -> wdelta::error::Result<Placed> {
    let mut walker = Walker::new(header, header_end, file.len() as u64);
    while let Some(range) = walker.wants() {
        walker.feed(&file[range.offset as usize..range.end() as usize])?;
    }
    walker.finish()
}

/// The plan from which the writer must make the same header again.
fn plan_of(header: &V1Header, placed: &Placed) -> HeaderPlan {
    let tensors = header.tensors.iter().zip(&placed.tensors);
    HeaderPlan {
        parent_hash: header.parent_hash.clone(),
        strategy: header.strategy.clone(),
        base_name: header.base_name.clone(),
        tensors: tensors
            .map(|(t, records)| HeaderTensor {
                name: t.name.clone(),
                strategy: t.strategy,
                shape: t.shape.clone(),
                elements: t.elements,
                kept: t.kept.unwrap_or(records[0].elements),
                option: t.option.clone().unwrap_or_default(),
            })
            .collect(),
    }
}

#[test]
fn every_file_of_the_reference_is_read_placed_and_written_again() {
    let (mut files, mut foreign_files) = (0, 0);
    for case in manifest()["cases"].as_array().unwrap() {
        let mut base_paths = paths(&case["base"]);
        for step in case["steps"].as_array().unwrap() {
            let path = step["file"].as_str().unwrap();
            let file = read(path);
            let (header, header_end) = v1_header(&file);
            assert_eq!(header.parent_hash, step["parent_hash"], "{path}");
            let placed = walk(&header, header_end, &file).unwrap();
            let (base, ft) = (model(&base_paths), model(&paths(&step["finetuned"])));
            assert_eq!(header.sorted_names(), names(&base), "{path}");

            let by_paths = step["api"] == "paths";
            let order = match by_paths {
                true => record_order_for_paths(&names(&ft), |n| base.shard_of(n), |n| ft.shard_of(n)),
                false => sorted(&names(&ft)),
            };
            assert_eq!(hash(&base, &base_paths, &order), header.parent_hash, "{path}");
            if step["foreign"] == true || case["foreign"] == true {
                foreign_files += 1;
            } else {
                assert_eq!(placed.order, order, "{path}");
                assert_eq!(
                    predict(&header, header_end, file.len() as u64, &order).as_ref(),
                    Some(&placed),
                    "{path}"
                );
                let plan = plan_of(&header, &placed);
                let head = preamble(&header_json(&plan)).unwrap();
                assert_eq!(head, file[..header_end as usize], "{path}");
                let ordered: Vec<_> = order.iter().map(|n| &plan.tensors[header.find(n).unwrap()]).collect();
                let layout = RecordLayout::new(header_end, &ordered).unwrap();
                assert_eq!(layout.size, file.len() as u64, "{path}");
                for (t, records) in header.tensors.iter().zip(&placed.tensors) {
                    for (i, record) in records.iter().enumerate() {
                        assert_eq!(
                            layout.records[order.iter().position(|n| *n == t.name).unwrap()][i],
                            record.header_at,
                            "{path}"
                        );
                        let bytes = &file[record.header_at as usize..record.data.offset as usize];
                        assert_eq!(expected_header(t, i, record), bytes, "{path}");
                    }
                }
            }
            files += 1;
            base_paths = paths(&step["expected"]);
        }
    }
    assert_eq!((files, foreign_files), (74, 2));
}

#[test]
fn foreign_records_are_found_by_walking() {
    let file = read("foreign-loose-header/file.wdelta");
    let (header, header_end) = v1_header(&file);
    assert_eq!(header.strategy, "anything");
    assert_eq!(
        header.tensors.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(),
        ["b", "c", "a"]
    );
    assert_eq!(header.sorted_names(), ["a", "b", "c"]);
    assert_eq!(header.tensors[2].option.as_deref(), Some("0.01"));
    let names = header.sorted_names();
    assert_eq!(predict(&header, header_end, file.len() as u64, &names), None);
    // Array `values` of b comes twice; the last one counts.
    let placed = walk(&header, header_end, &file).unwrap();
    assert!(placed.tensors[0][1].header_at > header_end);
    assert_eq!(placed.order.first().unwrap(), "b");

    let file = read("foreign-mixed-strategies/file.wdelta");
    let (header, header_end) = v1_header(&file);
    let placed = walk(&header, header_end, &file).unwrap();
    assert_eq!(
        predict(&header, header_end, file.len() as u64, &placed.order),
        Some(placed)
    );
}

#[test]
fn the_path_loaders_order_differs_where_the_manifest_says_so() {
    for case in manifest()["cases"].as_array().unwrap() {
        let step = &case["steps"][0];
        if step["api"] != "paths" {
            continue;
        }
        let base_paths = paths(&case["base"]);
        let base = model(&base_paths);
        let order = base.shard_groups();
        assert_eq!(order, shard_groups(&names(&base), |n| base.shard_of(n)));
        let accepted = hash(&base, &base_paths, &order) == step["parent_hash"];
        assert_eq!(accepted, step["loads_with_verify"], "{}", case["name"]);
    }
}

#[test]
fn damaged_files_are_refused_for_what_they_are() {
    let file = read("invalid/bad-magic.wdelta");
    assert_eq!(not_a_delta(sniff(&file[..16]), &file[..16]).code, Code::NotWdelta);
    let file = read("invalid/version-2.wdelta");
    assert_eq!(
        not_a_delta(sniff(&file[..16]), &file[..16]).code,
        Code::UnsupportedVersion
    );
    assert_eq!(sniff(&read("invalid/empty.wdelta")), Kind::Empty);
    // Too short for its checksum, and all that is there looks right: the caller compares the length.
    let file = read("invalid/short.wdelta");
    assert_eq!((sniff(&file[..16]), file.len()), (Kind::Wdelta { version: 1 }, 20));
    for cut in ["invalid/cut-record.wdelta", "invalid/truncated.wdelta"] {
        let file = read(cut);
        let (header, header_end) = v1_header(&file);
        let error = walk(&header, header_end, &file).unwrap_err();
        assert!(
            matches!(error.code, Code::Truncated | Code::Malformed),
            "{cut}: {error}"
        );
        assert!(
            error
                .offset
                .is_some_and(|at| at >= header_end && at < file.len() as u64),
            "{cut}: {error}"
        );
    }
}

#[test]
fn safetensors_headers_are_written_as_the_library_writes_them() {
    let mut seen = 0;
    for case in std::fs::read_dir(root())
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_dir())
    {
        for path in std::fs::read_dir(case).unwrap().map(|e| e.unwrap().path()) {
            if path.extension().is_none_or(|e| e != "safetensors") {
                continue;
            }
            let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            let shard = shard(0, &path);
            let bytes = header_bytes(&shard.header.metadata, &shard.header.tensors);
            let file = read(&path);
            assert_eq!(
                String::from_utf8_lossy(&bytes),
                String::from_utf8_lossy(&file[..shard.data_offset as usize]),
                "{path}"
            );
            seen += 1;
        }
    }
    assert!(seen > 200, "{seen}");
}

#[test]
fn a_sharded_folder_is_chosen_by_its_index() {
    let folder = root().join("shards-both-mixed/finetuned");
    let entries = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap());
    let files: Vec<_> = entries
        .enumerate()
        .map(|(i, e)| {
            (
                i as u32,
                e.file_name().into_string().unwrap(),
                e.metadata().unwrap().len(),
            )
        })
        .collect();
    let choice = choose_files(&files).unwrap();
    assert_eq!((choice.shards, choice.side_files), (Shards::FromIndex, vec![]));
    let json = std::fs::read(folder.join(&files[choice.index.unwrap() as usize].1)).unwrap();
    let index = parse_index(&json).unwrap();
    let shards = resolve_shards(&index, &files).unwrap();
    let paths: Vec<_> = shards.iter().map(|&i| files[i as usize].1.as_str()).collect();
    let expected = ["model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors"];
    assert_eq!(paths[..2], expected);
    let read = |&i: &u32| shard(i, &format!("shards-both-mixed/finetuned/{}", files[i as usize].1));
    let model = assemble(shards.iter().map(read).collect(), Some(index.clone())).unwrap();
    assert_eq!(model.tensors.len(), index.weight_map.len());
    assert!(model.tensors.is_sorted_by(|a, b| a.name < b.name));

    let total = model.data_bytes();
    let again = rewrite_index(&index, &index.weight_map, total);
    assert_eq!(parse_index(&again).unwrap().weight_map, index.weight_map);
    assert_eq!(
        parse_index(&again).unwrap().metadata,
        [("total_size".to_owned(), total.to_string())]
    );
}
