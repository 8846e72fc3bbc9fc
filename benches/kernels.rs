//! Throughput of the kernels and strategies, in elements a second: `cargo bench --bench kernels -- FILTER`.
//!
//! One million weights of a bfloat16 pair, handled in blocks that fit the first-level cache, as the jobs do it.

#![allow(missing_docs)] // of the function that criterion_group! makes

use criterion::{criterion_group, criterion_main, Criterion, Throughput};
use std::hint::black_box;
use wdelta::dtype::Dtype;
use wdelta::kernels::loss::ErrorSum;
use wdelta::kernels::stats::{Likeness, Moments};
use wdelta::kernels::topk::{self, Between, BUCKETS};
use wdelta::kernels::{apply, convert};
use wdelta::limits::BLOCK_ELEMENTS;
use wdelta::strategy::{kept_int4, Emitter, Expander, Strategy, Survey, Surveyed, MAX_FIELDS};

const N: usize = 1 << 20;
const SHAPE: [u64; 2] = [1024, 1024];

type Arrays = [Vec<u8>; MAX_FIELDS];

struct Pair {
    base: Vec<u8>,
    finetuned: Vec<u8>,
    base_f32: Vec<f32>,
    delta: Vec<f32>,
}

impl Pair {
    fn new() -> Self {
        let mut state = 1u64;
        // The sum of four uniform numbers is near enough to a normal distribution.
        let mut normal = || {
            let mut sum = -2.0;
            for _ in 0..4 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                sum += (state >> 40) as f32 / 16_777_216.0;
            }
            sum * 1.73
        };
        let base_f32: Vec<f32> = (0..N).map(|_| normal() * 0.02).collect();
        let finetuned_f32: Vec<f32> = base_f32.iter().map(|b| b + normal() * 5e-4).collect();
        let mut pair = Self {
            base: vec![0; 2 * N],
            finetuned: vec![0; 2 * N],
            base_f32: vec![0.0; N],
            delta: vec![0.0; N],
        };
        convert::from_f32(Dtype::BF16, &base_f32, &mut pair.base);
        convert::from_f32(Dtype::BF16, &finetuned_f32, &mut pair.finetuned);
        convert::to_f32(Dtype::BF16, &pair.base, &mut pair.base_f32);
        apply::delta(Dtype::BF16, &pair.finetuned, Dtype::BF16, &pair.base, &mut pair.delta);
        pair
    }

    fn blocks(&self) -> impl Iterator<Item = &[f32]> {
        self.delta.chunks(BLOCK_ELEMENTS)
    }
}

fn survey(pair: &Pair, strategy: Strategy) -> Surveyed {
    let mut survey = Survey::new(strategy, &SHAPE, kept_int4(N as u64, 0.01).expect("a valid fraction"));
    loop {
        pair.blocks().for_each(|b| survey.feed(b));
        if !survey.end_pass() {
            return survey.finish();
        }
    }
}

fn emit(pair: &Pair, strategy: Strategy, surveyed: &Surveyed) -> Arrays {
    let kept = kept_int4(N as u64, 0.01).expect("a valid fraction");
    let mut out = Arrays::default();
    let mut emitter = Emitter::new(strategy, &SHAPE, kept, surveyed);
    pair.blocks().for_each(|b| emitter.feed(b, &mut out));
    emitter.finish(&mut out).expect("the tensor that was surveyed");
    out
}

fn expand(strategy: Strategy, arrays: &Arrays, out: &mut [f32]) {
    let mut counts = [0; MAX_FIELDS];
    for (f, field) in strategy.fields().iter().enumerate() {
        counts[f] = (arrays[f].len() / field.dtype.width()) as u64;
    }
    let mut expander = Expander::new(strategy, N as u64, SHAPE[1], counts).expect("fitting arrays");
    let mut at = [0; MAX_FIELDS];
    for block in out.chunks_mut(BLOCK_ELEMENTS) {
        let windows = std::array::from_fn(|f| &arrays[f][at[f]..]);
        let progress = expander.expand(&windows, block).expect("sound arrays");
        at.iter_mut().zip(progress.consumed).for_each(|(at, n)| *at += n);
    }
}

fn kernels(c: &mut Criterion) {
    let pair = Pair::new();
    let mut group = c.benchmark_group("kernels");
    group.throughput(Throughput::Elements(N as u64)).sample_size(20);
    let mut values = vec![0.0; N];
    let mut bytes = vec![0; 2 * N];
    group.bench_function("delta_bf16", |b| {
        b.iter(|| {
            apply::delta(
                Dtype::BF16,
                &pair.finetuned,
                Dtype::BF16,
                &pair.base,
                black_box(&mut values),
            )
        })
    });
    group.bench_function("delta_f16", |b| {
        b.iter(|| {
            apply::delta(
                Dtype::F16,
                &pair.finetuned,
                Dtype::F16,
                &pair.base,
                black_box(&mut values),
            )
        })
    });
    for (name, dtype) in [("keep_bf16", Dtype::BF16), ("keep_f16", Dtype::F16)] {
        group.bench_function(name, |b| {
            b.iter(|| convert::keep_or_round(dtype, &pair.delta, &pair.base_f32, &pair.base, black_box(&mut bytes)))
        });
    }
    let mut counts = vec![0; 4 * BUCKETS];
    group.bench_function("count_buckets", |b| {
        b.iter(|| {
            counts.fill(0);
            pair.blocks().for_each(|block| topk::count_buckets(block, &mut counts));
        })
    });
    let border = survey(&pair, Strategy::Int4).cut.map_or(0, |cut| cut.magnitude);
    let mut aside = vec![0.0; BLOCK_ELEMENTS];
    group.bench_function("gather", |b| {
        b.iter(|| {
            let mut between = Between {
                first: border & 0xffff_0000,
                last: border | 0xffff,
                ..Between::ALL
            };
            pair.blocks()
                .map(|block| between.gather(block, &mut aside))
                .sum::<usize>()
        })
    });
    let mut hits = vec![0; BLOCK_ELEMENTS];
    group.bench_function("select", |b| {
        b.iter(|| {
            pair.blocks()
                .map(|block| topk::select(block, border, &mut hits))
                .sum::<usize>()
        })
    });
    group.bench_function("moments", |b| {
        b.iter(|| {
            let mut moments = Moments::default();
            pair.blocks().for_each(|block| moments.feed(block));
            moments.sum_sq()
        })
    });
    let pairs = || pair.blocks().zip(pair.base_f32.chunks(BLOCK_ELEMENTS));
    group.bench_function("error_sum", |b| {
        b.iter(|| {
            let mut sum = ErrorSum::default();
            pairs().for_each(|(a, b)| sum.feed(a, b));
            sum.error_sq()
        })
    });
    group.bench_function("likeness", |b| {
        b.iter(|| {
            let mut likeness = Likeness::default();
            pairs().for_each(|(a, b)| likeness.feed(a, b));
            likeness.dot()
        })
    });
}

fn strategies(c: &mut Criterion) {
    let pair = Pair::new();
    let mut group = c.benchmark_group("strategies");
    group.throughput(Throughput::Elements(N as u64)).sample_size(20);
    for strategy in Strategy::ALL {
        let surveyed = survey(&pair, strategy);
        let arrays = emit(&pair, strategy, &surveyed);
        let mut out = vec![0.0; N];
        group.bench_function(format!("survey/{}", strategy.name()), |b| {
            b.iter(|| survey(&pair, strategy))
        });
        group.bench_function(format!("emit/{}", strategy.name()), |b| {
            b.iter(|| emit(&pair, strategy, &surveyed))
        });
        group.bench_function(format!("expand/{}", strategy.name()), |b| {
            b.iter(|| expand(strategy, &arrays, black_box(&mut out)))
        });
    }
}

criterion_group!(benches, kernels, strategies);
criterion_main!(benches);
