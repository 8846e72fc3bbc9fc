//! Buffers that are used again: a new one has to be cleared, and over a whole model that takes as long as reading it.
//!
//! Whoever has no more use for a large buffer may [`give`] it; one that is dropped instead is only gone.

use std::cell::RefCell;

/// Length from which a buffer is worth keeping.
const LARGE: usize = 64 << 10;

/// Largest buffer that is kept.
const LARGEST: usize = 8 << 20;

/// Most buffers that are kept.
const MOST: usize = 8;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of `len` bytes, which the caller has bounded; what is in it is left over from whatever it was used for.
pub fn take(len: usize) -> Vec<u8> {
    let spare = SPARE.with_borrow_mut(|spare| {
        let found = spare.iter().position(|b| len >= LARGE && b.capacity() >= len)?;
        Some(spare.swap_remove(found))
    });
    let mut buffer = spare.unwrap_or_default();
    buffer.resize(len, 0);
    buffer
}

/// Keeps a buffer for others.
pub fn give(buffer: Vec<u8>) {
    if !(LARGE..=LARGEST).contains(&buffer.capacity()) {
        return;
    }
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < MOST {
            return spare.push(buffer);
        }
        if let Some(least) = spare.iter_mut().min_by_key(|b| b.capacity()) {
            if least.capacity() < buffer.capacity() {
                *least = buffer;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::{give, take, LARGE, LARGEST, MOST};

    #[test]
    fn large_buffers_come_back() {
        let buffer = take(2 * LARGE);
        let at = buffer.as_ptr();
        give(buffer);
        let again = take(LARGE + 1);
        assert_eq!((again.as_ptr(), again.len()), (at, LARGE + 1));
        let other = take(LARGE + 1);
        assert_ne!(other.as_ptr(), at);
    }

    #[test]
    fn few_are_kept_and_the_largest_of_them() {
        for _ in 0..2 * MOST {
            give(vec![0; LARGE]);
        }
        give(vec![0; LARGEST + 1]);
        give(vec![0; LARGEST]);
        assert!(take(LARGEST).capacity() <= LARGEST);
        let kept = super::SPARE.with_borrow(Vec::len);
        assert_eq!(kept, MOST - 1);
    }
}
