//! Is a file made of pages, as databases are?
//!
//! A page that is rewritten in place costs the 16 KiB steps that it touches: one, if the steps begin where pages do. So chunks of
//! such files end at multiples of the step. Other files are cut by content alone: then content that moved by any distance is found.

/// Bytes at the start of a file that tell.
pub(crate) const SAMPLE_BYTES: usize = 256 << 10;
/// Files of pages have a multiple of this, and at least so much that it matters.
const SIZE_STEP_BYTES: u64 = 64 << 10;
const SIZE_BYTES_MIN: u64 = 4 << 20;
const PAGE_BYTES: [usize; 3] = [4 << 10, 8 << 10, 16 << 10];
/// Bytes of a page's header that are looked at.
const HEADER_BYTES: usize = 32;
/// Pages that must say the same, of those that are not empty.
const PAGES_MIN: usize = 12;

/// True if a sample of a file of this size is worth a look.
pub(crate) fn may_have_pages(size: u64) -> bool {
    size >= SIZE_BYTES_MIN && size.is_multiple_of(SIZE_STEP_BYTES)
}

/// True if the pages of `sample` begin alike, and not like their middles: a magic number, a version, a type.
pub(crate) fn has_pages(sample: &[u8]) -> bool {
    PAGE_BYTES.into_iter().any(|page_bytes| {
        let pages: Vec<&[u8]> = sample.chunks_exact(page_bytes).filter(|page| page.iter().any(|byte| *byte != 0)).collect();
        pages.len() >= PAGES_MIN && same_columns(&pages, 0) > same_columns(&pages, page_bytes / 2) + 1
    })
}

/// Columns from `at` on in which nine pages of ten have the same byte, not 0.
fn same_columns(pages: &[&[u8]], at: usize) -> usize {
    (at..at + HEADER_BYTES)
        .filter(|column| {
            let mut counts = [0_usize; 256];
            pages.iter().for_each(|page| counts[usize::from(page[*column])] += 1);
            counts[1..].iter().any(|count| count * 10 >= pages.len() * 9)
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 3u64;
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..length).map(next).collect()
    }

    #[test]
    fn pages_show_by_their_headers() {
        for page_bytes in PAGE_BYTES {
            let mut sample = noise(SAMPLE_BYTES);
            assert!(!has_pages(&sample));
            sample.chunks_exact_mut(page_bytes).for_each(|page| page[4..8].copy_from_slice(b"PAGE"));
            assert!(has_pages(&sample), "{page_bytes}");
        }
    }

    #[test]
    fn text_zeros_and_records_have_none() {
        let text = b"2026-11-23 one line of a log like any other\n".repeat(8000);
        let records: Vec<u8> = noise(SAMPLE_BYTES).chunks(64).flat_map(|record| [b"KEY=", &record[4..]].concat()).collect();
        for sample in [&text[..SAMPLE_BYTES], &records, &vec![0; SAMPLE_BYTES], &vec![7; SAMPLE_BYTES], b"short"] {
            assert!(!has_pages(sample));
        }
        assert!(may_have_pages(2 << 30) && !may_have_pages((2 << 30) + 1) && !may_have_pages(64 << 10));
    }
}
