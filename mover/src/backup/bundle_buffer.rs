//! Small files, one after the other, while a bundle is read.

/// Its memory is kept from one bundle to the next as it is: setting it to zero before each read would cost a tenth of the reading.
#[derive(Debug, Default)]
pub(super) struct BundleBuffer {
    memory: Vec<u8>,
    length: usize,
}

impl BundleBuffer {
    pub(super) fn clear(&mut self) {
        self.length = 0;
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn content(&self) -> &[u8] {
        &self.memory[..self.length]
    }

    /// Room behind the content; what stands there is of earlier bundles.
    pub(super) fn room(&mut self, bytes: usize) -> &mut [u8] {
        let end = self.length + bytes;
        if self.memory.len() < end {
            self.memory.resize(end, 0);
        }
        &mut self.memory[self.length..end]
    }

    /// So many bytes of the room are content now.
    pub(super) fn filled(&mut self, bytes: usize) {
        self.length = (self.length + bytes).min(self.memory.len());
    }

    pub(super) fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_an_earlier_bundle_becomes_content() {
        let mut buffer = BundleBuffer::default();
        buffer.room(6).copy_from_slice(b"secret");
        buffer.filled(6);
        buffer.clear();
        buffer.room(6)[..2].copy_from_slice(b"ab");
        buffer.filled(2);
        assert_eq!(buffer.content(), b"ab");
        buffer.room(4)[..1].copy_from_slice(b"c");
        buffer.filled(1);
        buffer.truncate(2);
        buffer.truncate(5);
        assert_eq!((buffer.content(), buffer.len()), (&b"ab"[..], 2));
    }
}
