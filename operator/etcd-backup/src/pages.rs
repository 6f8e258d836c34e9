//! Whether a folder holds objects of some names: found by a bounded number of requests, however much lies there.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path;
use object_store::{ObjectStore, Result};

/// Most answers that are read of one question; a bucket returns 1000 names in each.
const PAGES: usize = 10;

/// How a store is listed.
#[derive(Clone)]
pub(crate) enum Pages {
    /// A bucket, which finds the beginnings of names and answers page by page.
    Bucket(Arc<dyn PaginatedListStore>),
    /// A folder, whose names are read at once.
    Folder(Arc<dyn ObjectStore>),
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Such an object.
    One,
    /// None.
    None,
    /// None yet, and too many others whose names begin alike.
    Many,
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Pages::Bucket(_) => "Bucket",
            Pages::Folder(_) => "Folder",
        })
    }
}

impl Pages {
    /// Whether an object right in a folder has a name that begins so and is wanted.
    pub(crate) async fn find(
        &self,
        folder: &Path,
        beginning: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Found> {
        let store = match self {
            Pages::Bucket(store) => store,
            Pages::Folder(store) => {
                let listed = store.list_with_delimiter(Some(folder)).await?;
                let mut names = listed.objects.iter().filter_map(|o| o.location.filename());
                let found = names.any(|name| name.starts_with(beginning) && wanted(name));
                return Ok(if found { Found::One } else { Found::None });
            }
        };
        let prefix = format!("{folder}/{beginning}");
        let mut page_token = None;
        for _ in 0..PAGES {
            let options = PaginatedListOptions {
                delimiter: Some(Cow::Borrowed("/")),
                page_token,
                ..PaginatedListOptions::default()
            };
            let page = store.list_paginated(Some(&prefix), options).await?;
            let objects = &page.result.objects;
            if objects
                .iter()
                .filter_map(|o| o.location.filename())
                .any(&wanted)
            {
                return Ok(Found::One);
            }
            if page.page_token.is_none() {
                return Ok(Found::None);
            }
            page_token = page.page_token;
        }
        Ok(Found::Many)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use object_store::list::PaginatedListResult;
    use object_store::memory::InMemory;
    use object_store::{ObjectStoreExt, PutPayload};

    use super::*;

    /// A bucket of so many pages; the last has what is wanted.
    struct Bucket {
        pages: usize,
        asked: AtomicUsize,
    }

    #[async_trait::async_trait]
    impl PaginatedListStore for Bucket {
        async fn list_paginated(
            &self,
            prefix: Option<&str>,
            options: PaginatedListOptions,
        ) -> Result<PaginatedListResult> {
            assert_eq!(prefix, Some("a/b/segment-"));
            assert_eq!(options.delimiter.as_deref(), Some("/"));
            let page = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
            let last = page == self.pages;
            let name = if last {
                "segment-1"
            } else {
                "segment-of-others"
            };
            let store = InMemory::new();
            let object = Path::from(format!("a/b/{name}"));
            store.put(&object, PutPayload::default()).await?;
            Ok(PaginatedListResult {
                result: store.list_with_delimiter(Some(&Path::from("a/b"))).await?,
                page_token: (!last).then(|| page.to_string()),
            })
        }
    }

    #[tokio::test]
    async fn a_bucket_is_read_page_by_page_and_no_further_than_some() {
        for (pages, found, asked) in [
            (1, Found::One, 1),
            (PAGES, Found::One, PAGES),
            (PAGES + 1, Found::Many, PAGES),
            (usize::MAX, Found::Many, PAGES),
        ] {
            let bucket = Arc::new(Bucket {
                pages,
                asked: AtomicUsize::new(0),
            });
            let listed = Pages::Bucket(Arc::clone(&bucket) as Arc<dyn PaginatedListStore>);
            let folder = Path::from("a/b");
            let result = listed.find(&folder, "segment-", |name| name == "segment-1");
            assert_eq!(result.await.expect("an answer"), found, "{pages}");
            assert_eq!(bucket.asked.load(Ordering::SeqCst), asked, "{pages}");
        }
    }
}
