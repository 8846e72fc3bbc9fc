//! 4-bit codes, two per byte, the first in the high half.

/// What each byte stands for: the values of its high and its low code.
pub type PairTable = [[f32; 2]; 256];

/// The table of pairs for 16 levels. A lookup per byte beats computing per value: one load, one store for two results.
pub fn pair_table(levels: &[f32; 16]) -> PairTable {
    std::array::from_fn(|byte| [levels[byte >> 4], levels[byte & 15]])
}

/// Packs `2 * packed.len()` codes, each 0..=15, two per byte, high half first.
///
/// Panics unless `codes` is exactly twice as long as `packed`. Source: deltatensors v1, `compress_int4.py`.
pub fn pack(codes: &[u8], packed: &mut [u8]) {
    assert_eq!(codes.len(), 2 * packed.len());
    for (pair, byte) in codes.chunks_exact(2).zip(packed) {
        *byte = pair[0] << 4 | pair[1];
    }
}

/// Looks every byte of `packed` up: `out[2 i]` is the value of the high half of byte `i`, `out[2 i + 1]` of the low.
///
/// Panics unless `out` is exactly twice as long as `packed`.
pub fn expand(packed: &[u8], table: &PairTable, out: &mut [f32]) {
    assert_eq!(out.len(), 2 * packed.len());
    for (&byte, pair) in packed.iter().zip(out.chunks_exact_mut(2)) {
        let [high, low] = table[usize::from(byte)];
        pair[0] = high;
        pair[1] = low;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_high_half_first_and_expands_every_byte() {
        let mut packed = [0; 2];
        pack(&[1, 2, 15, 0], &mut packed);
        assert_eq!(packed, [0x12, 0xf0]);
        let levels: [f32; 16] = std::array::from_fn(|q| q as f32 * 0.5);
        let all: Vec<u8> = (0..=255).collect();
        let mut out = [0.0; 512];
        expand(&all, &pair_table(&levels), &mut out);
        for (i, &byte) in all.iter().enumerate() {
            assert_eq!(out[2 * i], levels[usize::from(byte >> 4)]);
            assert_eq!(out[2 * i + 1], levels[usize::from(byte & 15)]);
        }
    }
}
