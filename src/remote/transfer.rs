//! Single blobs and records on their way to a remote store and back.

use std::{fs::File, io::Read, io::Write};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use object_store::{GetOptions, GetRange, MultipartUpload, ObjectStoreExt, PutMode, PutPayload, path::Path};
use tokio::{
    sync::OwnedSemaphorePermit,
    task::{JoinSet, block_in_place},
};

use super::{record::Record, remote_error::RemoteError, session::Session};
use crate::{
    base::{
        digest::Digest,
        error::{Error, IoAt},
    },
    store::{FileEntry, Store},
};

/// Larger blobs travel in parts of at least this many bytes, each tried again on its own.
const PART: u64 = 8 << 20;
/// Services limit the number of parts to 10,000.
const MOST_PARTS: u64 = 9_000;

fn part_size(size: u64) -> u64 {
    PART.max(size.div_ceil(MOST_PARTS))
}

impl Session {
    /// Fetches a blob into the store, and returns its bytes. They are hashed before they become visible there.
    ///
    /// # Errors
    /// A blob that is missing or isn't what its name says is damage; else what keeps it from being asked for or
    /// written.
    pub(super) async fn download(&self, store: &Store, file: &FileEntry) -> Result<u64, RemoteError> {
        let fetched = self.fetch_into(store, file).await;
        fetched.map(|()| file.size).map_err(|error| self.error_of_blob(error, &file.digest))
    }

    async fn fetch_into(&self, store: &Store, file: &FileEntry) -> Result<(), RemoteError> {
        let location = self.backend.blob(&file.digest);
        let staging = store.staging()?;
        let path = staging.path().join("blob");
        let mut out = File::create(&path).io_at("create", &path)?;
        let part = part_size(file.size);
        let ranges = (0..file.size.div_ceil(part).max(1)).map(|i| i * part..((i + 1) * part).min(file.size));
        let parts: Vec<_> = ranges.map(|range| self.fetch(&location, range, file.size)).collect();
        let mut parts = stream::iter(parts).buffered(self.concurrency);
        while let Some(part) = parts.next().await {
            let (bytes, _permit) = part?;
            block_in_place(|| out.write_all(&bytes)).io_at("write", &path)?;
            self.count_received(bytes.len());
        }
        drop(out);
        if block_in_place(|| store.adopt(&path, &file.digest))? { Ok(()) } else { Err(wrong_bytes()) }
    }

    /// Bytes of an object of `size` bytes. The permit bounds memory: it is to be kept as long as the bytes are.
    async fn fetch(
        &self,
        location: &Path,
        range: std::ops::Range<u64>,
        size: u64,
    ) -> Result<(Bytes, OwnedSemaphorePermit), RemoteError> {
        let permit = self.permit().await?;
        let whole = range == (0..size);
        let wanted = range.end - range.start;
        let options = GetOptions { range: (!whole).then_some(GetRange::Bounded(range)), ..GetOptions::default() };
        let (found, bytes) = self.get(location, &options, size).await?;
        if found != size {
            return Err(RemoteError::Damaged(format!("has {found} bytes instead of {size}")));
        }
        match bytes.len() as u64 == wanted {
            true => Ok((bytes, permit)),
            false => Err(RemoteError::Damaged(format!("gave {} bytes where {wanted} were asked for", bytes.len()))),
        }
    }

    /// The size of an object, and the bytes that are asked for; none of an object larger than `most`.
    async fn get(&self, location: &Path, options: &GetOptions, most: u64) -> Result<(u64, Bytes), RemoteError> {
        let request = || async {
            let answer = self.backend.objects.get_opts(location, options.clone()).await?;
            let size = answer.meta.size;
            let bytes = if size > most { Bytes::new() } else { answer.bytes().await? };
            Ok((size, bytes))
        };
        self.again(request).await.map_err(|e| self.error(&e))
    }

    async fn put(&self, location: &Path, bytes: Bytes, mode: PutMode) -> object_store::Result<()> {
        let request = || self.backend.objects.put_opts(location, bytes.clone().into(), mode.clone().into());
        self.again(request).await.map(drop)
    }

    /// The client repeats what is safe to repeat in general. Here everything is, since an object's name says what it
    /// holds; so what it gives up on, such as an answer that was cut short, is tried once more.
    async fn again<T, F>(&self, request: impl Fn() -> F) -> object_store::Result<T>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        match request().await {
            Err(object_store::Error::Generic { .. }) if !self.backend.is_folder => request().await,
            answer => answer,
        }
    }

    /// Sends a blob of the store, unless the remote has an object of its name and size. Returns the bytes sent.
    ///
    /// # Errors
    /// Where the store's own blob is damaged or can't be read, or the remote doesn't take it.
    pub(super) async fn upload(&self, store: &Store, file: &FileEntry, replace: bool) -> Result<u64, RemoteError> {
        let location = self.backend.blob(&file.digest);
        if !replace && self.has(&location, file.size).await? {
            return Ok(0);
        }
        let path = store.blob(&file.digest);
        if file.size <= PART {
            let permit = self.permit().await?;
            let bytes = block_in_place(|| std::fs::read(&path)).io_at("read", &path)?;
            if Digest::of(&bytes) != file.digest {
                return Err(rotten(&file.digest));
            }
            let put = self.put(&location, bytes.into(), PutMode::Overwrite).await;
            drop(permit);
            put.map_err(|e| self.error(&e))?;
            self.count_sent(file.size);
            return Ok(file.size);
        }
        let mut source = File::open(&path).io_at("open", &path)?;
        let mut upload = self.backend.objects.put_multipart(&location).await.map_err(|e| self.error(&e))?;
        let sent = match self.send_parts(upload.as_mut(), &mut source, file).await {
            Ok(()) => upload.complete().await.map(drop).map_err(|e| self.error(&e)),
            Err(error) => Err(error),
        };
        if sent.is_err() {
            // Parts of an upload that was never completed are invisible, but may be paid for.
            let _ = upload.abort().await;
        }
        sent.map(|()| file.size)
    }

    /// Sends all parts, several at once, and proves that together they are what the blob's name says.
    async fn send_parts(
        &self,
        upload: &mut dyn MultipartUpload,
        source: &mut File,
        file: &FileEntry,
    ) -> Result<(), RemoteError> {
        let mut hasher = blake3::Hasher::new();
        let mut tasks = JoinSet::new();
        let part = part_size(file.size);
        let mut left = file.size;
        while left > 0 {
            let permit = self.permit().await?;
            let size = left.min(part);
            let mut block = vec![0; size as usize];
            block_in_place(|| {
                source.read_exact(&mut block)?;
                hasher.update_rayon(&block);
                Ok(())
            })
            .map_err(|_: std::io::Error| rotten(&file.digest))?;
            let sending = upload.put_part(PutPayload::from(block));
            tasks.spawn(async move {
                let sent = sending.await;
                drop(permit);
                sent.map(|_| size)
            });
            left -= size;
            while let Some(done) = tasks.try_join_next() {
                self.part_sent(done)?;
            }
        }
        while let Some(done) = tasks.join_next().await {
            self.part_sent(done)?;
        }
        if Digest::from(hasher) == file.digest { Ok(()) } else { Err(rotten(&file.digest)) }
    }

    fn part_sent(&self, done: Result<object_store::Result<u64>, tokio::task::JoinError>) -> Result<(), RemoteError> {
        let size = done.map_err(|e| RemoteError::Failed(Error::internal(e)))?.map_err(|e| self.error(&e))?;
        self.count_sent(size);
        Ok(())
    }

    async fn has(&self, location: &Path, size: u64) -> Result<bool, RemoteError> {
        let _permit = self.permit().await?;
        match self.again(|| self.backend.objects.head(location)).await.map_err(|e| self.error(&e)) {
            Ok(meta) => Ok(meta.size == size),
            Err(RemoteError::Absent) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A blob that is small and in memory.
    ///
    /// # Errors
    /// Where the remote doesn't take them.
    pub(super) async fn upload_bytes(&self, bytes: Vec<u8>) -> Result<FileEntry, RemoteError> {
        let entry = FileEntry { name: String::new(), digest: Digest::of(&bytes), size: bytes.len() as u64 };
        let location = self.backend.blob(&entry.digest);
        let _permit = self.permit().await?;
        self.put(&location, bytes.into(), PutMode::Overwrite).await.map_err(|e| self.error(&e))?;
        Ok(entry)
    }

    /// The bytes of a small blob, proven by its hash.
    ///
    /// # Errors
    /// As [`Session::download`].
    pub(super) async fn download_bytes(&self, entry: &FileEntry) -> Result<Bytes, RemoteError> {
        let location = self.backend.blob(&entry.digest);
        let fetched = match self.fetch(&location, 0..entry.size.min(MOST_RECORD), entry.size).await {
            Ok((bytes, _)) if Digest::of(&bytes) == entry.digest => Ok(bytes),
            Ok(_) => Err(wrong_bytes()),
            Err(error) => Err(error),
        };
        fetched.map_err(|error| self.error_of_blob(error, &entry.digest))
    }

    /// The record of a key.
    ///
    /// # Errors
    /// Absent where there is none; damage where it is too large or [`Record::decode`] refuses it; else why the remote
    /// doesn't answer.
    pub(super) async fn record(&self, key: &Digest) -> Result<Record, RemoteError> {
        let _permit = self.permit().await?;
        let (size, bytes) = self.get(&self.backend.result(key), &GetOptions::default(), MOST_RECORD).await?;
        if size > MOST_RECORD {
            return Err(RemoteError::Damaged(format!("its record has {size} bytes")));
        }
        Record::decode(&bytes, key).map_err(RemoteError::Damaged)
    }

    /// Writes a record where there is none; `Ok(false)` where there is one already.
    ///
    /// # Errors
    /// Where the remote doesn't take it.
    pub(super) async fn create(&self, record: &Record) -> Result<bool, RemoteError> {
        use object_store::Error as E;
        let location = self.backend.result(&record.key);
        let bytes = Bytes::from(record.encode()?);
        let permit = self.permit().await?;
        let put = self.put(&location, bytes, PutMode::Create).await;
        drop(permit);
        match put {
            Ok(()) => Ok(true),
            Err(E::AlreadyExists { .. }) => Ok(false),
            // Some shared filesystems have no hard links, and some services no conditions.
            Err(E::NotImplemented { .. } | E::NotSupported { .. }) => self.replace(record).await.map(|()| true),
            Err(_) if self.backend.is_folder => self.replace(record).await.map(|()| true),
            Err(e) => Err(self.error(&e)),
        }
    }

    /// Writes a record, also where there is one already.
    ///
    /// # Errors
    /// Where the remote doesn't take it.
    pub(super) async fn replace(&self, record: &Record) -> Result<(), RemoteError> {
        let location = self.backend.result(&record.key);
        let bytes = Bytes::from(record.encode()?);
        let _permit = self.permit().await?;
        self.put(&location, bytes, PutMode::Overwrite).await.map_err(|e| self.error(&e))
    }

    /// Waits for all transfers, several at once, and adds up their bytes.
    ///
    /// # Errors
    /// The first of any of them; the others are then given up.
    pub(super) async fn all(
        &self,
        transfers: Vec<impl Future<Output = Result<u64, RemoteError>>>,
    ) -> Result<u64, RemoteError> {
        let mut running = stream::iter(transfers).buffer_unordered(self.concurrency);
        let mut bytes = 0;
        while let Some(transfer) = running.next().await {
            bytes += transfer?;
        }
        Ok(bytes)
    }
}

/// Far more than the listing of any artifact needs.
const MOST_RECORD: u64 = 64 << 20;

fn wrong_bytes() -> RemoteError {
    RemoteError::Damaged("has other bytes than its name says".to_owned())
}

fn rotten(digest: &Digest) -> RemoteError {
    RemoteError::Failed(
        Error::environment(format!("the store's own blob {} is damaged, so it isn't sent", digest.short()))
            .help("remove it with `emopipe verify --repair` and run again"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_blob_has_too_many_parts() {
        for size in [1, PART, PART + 1, 12 << 30, 5 << 40] {
            assert!(size.div_ceil(part_size(size)) <= MOST_PARTS);
        }
        assert_eq!(part_size(PART + 1), PART);
    }
}
