//! A router as bytes, so that a command need not learn again what the last one learnt.
//!
//! It is a cache: whoever keeps it keys it by what it was made from, and bytes that are cut or altered give nothing.

use crate::features::hash;

/// Changes with everything that changes what the bytes mean, or what a router learns from the same requests.
pub const FORMAT: u32 = 2;

/// Puts numbers one behind another, lowest byte first.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

/// Takes them out again; everything is `None` once there is too little.
#[derive(Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

/// Numbers of a fixed width.
pub(crate) trait Plain: Copy {
    const WIDTH: usize;
    fn put(self, to: &mut Vec<u8>);
    fn take(bytes: &[u8]) -> Option<Self>;
}

macro_rules! plain {
    ($($number:ty),*) => {$(
        impl Plain for $number {
            const WIDTH: usize = size_of::<$number>();
            fn put(self, to: &mut Vec<u8>) {
                to.extend_from_slice(&self.to_le_bytes());
            }
            fn take(bytes: &[u8]) -> Option<Self> {
                Some(<$number>::from_le_bytes(bytes.try_into().ok()?))
            }
        }
    )*};
}
plain!(u8, u16, u32, u64, f32);

impl Writer {
    pub fn one(&mut self, number: impl Plain) {
        number.put(&mut self.0);
    }

    pub fn many<T: Plain>(&mut self, numbers: &[T]) {
        self.one(numbers.len() as u64);
        self.0.reserve(numbers.len() * T::WIDTH);
        numbers.iter().for_each(|number| number.put(&mut self.0));
    }

    pub fn text(&mut self, text: &str) {
        self.many(text.as_bytes());
    }

    /// The bytes, with what tells whether they are whole.
    pub fn sealed(self) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(self.0.len() + 12);
        FORMAT.put(&mut sealed);
        hash(&self.0).put(&mut sealed);
        sealed.extend(self.0);
        sealed
    }
}

impl<'a> Reader<'a> {
    /// `None`: of another format, cut, or altered.
    pub fn of_sealed(sealed: &'a [u8]) -> Option<Self> {
        let (format, rest) = sealed.split_at_checked(4)?;
        let (seal, bytes) = rest.split_at_checked(8)?;
        let is_whole = u32::take(format)? == FORMAT && u64::take(seal)? == hash(bytes);
        is_whole.then_some(Self(bytes))
    }

    pub fn one<T: Plain>(&mut self) -> Option<T> {
        let (bytes, rest) = self.0.split_at_checked(T::WIDTH)?;
        self.0 = rest;
        T::take(bytes)
    }

    pub fn many<T: Plain>(&mut self) -> Option<Vec<T>> {
        let count = usize::try_from(self.one::<u64>()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(count.checked_mul(T::WIDTH)?)?;
        self.0 = rest;
        bytes.chunks_exact(T::WIDTH).map(T::take).collect()
    }

    pub fn text(&mut self) -> Option<String> {
        String::from_utf8(self.many()?).ok()
    }

    /// As many texts as were put there.
    pub fn texts(&mut self, count: usize) -> Option<Vec<String>> {
        (0..count).map(|_| self.text()).collect()
    }
}
