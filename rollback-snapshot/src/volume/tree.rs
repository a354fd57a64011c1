//! What is in a folder, or in an archive of it, as one digest: the same for the same content.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    fs::{self, File, Metadata},
    io,
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use rollback_core::model::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tar::{Archive, EntryType};

use super::OURS;
use crate::{
    files::{failed, feed, hex},
    job::Stop,
};

/// What is in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tree {
    pub(super) digest: String,
    pub(super) entries: u64,
    /// Lengths of all files together.
    pub(super) bytes: u64,
}

impl Tree {
    /// What an archive of it takes at most.
    pub(super) const fn room(&self) -> u64 {
        self.bytes.saturating_add((self.entries + 4) * 2048)
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = self.digest.get(..12).unwrap_or_default();
        write!(
            f,
            "{} entries, {} bytes, {digest}",
            self.entries, self.bytes
        )
    }
}

/// One thing in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    Folder,
    File,
    Symlink(PathBuf),
    /// The same file as an earlier one.
    Hardlink(PathBuf),
    Pipe,
}

/// A thing with its place, below the folder.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) node: Node,
    pub(super) metadata: Metadata,
}

/// Opens a file, and not what a link of that name leads to.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    fs::OpenOptions::new()
        .read(true)
        .custom_flags(no_follow)
        .open(path)
}

/// All that is in a folder, in an order that depends on the names alone. Links are not followed.
pub(super) fn walk(
    root: &Path,
    each: &mut dyn FnMut(Found) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let about = fs::symlink_metadata(root).map_err(|error| failed("look at", root, &error))?;
    if !about.is_dir() {
        return Err(Stop::Failed(format!("`{}` is no folder", root.display())));
    }
    let mut links = BTreeMap::new();
    descend(root, Path::new(""), &mut links, each)
}

fn descend(
    root: &Path,
    below: &Path,
    links: &mut BTreeMap<(u64, u64), PathBuf>,
    each: &mut dyn FnMut(Found) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let dir = root.join(below);
    let unlisted = |error: io::Error| failed("list", &dir, &error);
    let mut names = Vec::new();
    for entry in fs::read_dir(&dir).map_err(unlisted)? {
        names.push(entry.map_err(unlisted)?.file_name());
    }
    names.sort();
    for name in names {
        if below.as_os_str().is_empty() && is_ours(&name) {
            continue;
        }
        let path = below.join(&name);
        let full = root.join(&path);
        let metadata =
            fs::symlink_metadata(&full).map_err(|error| failed("look at", &full, &error))?;
        let kind = metadata.file_type();
        let node = if kind.is_dir() {
            Node::Folder
        } else if kind.is_symlink() {
            let target = fs::read_link(&full);
            Node::Symlink(target.map_err(|error| failed("read the link", &full, &error))?)
        } else if kind.is_socket() {
            continue;
        } else if !kind.is_file() && !kind.is_fifo() {
            return Err(Stop::Failed(format!(
                "`{}` is a device; a volume with devices is not kept",
                full.display()
            )));
        } else if let Some(first) = links.get(&(metadata.dev(), metadata.ino())) {
            Node::Hardlink(first.clone())
        } else {
            if metadata.nlink() > 1 {
                links.insert((metadata.dev(), metadata.ino()), path.clone());
            }
            if kind.is_file() {
                Node::File
            } else {
                Node::Pipe
            }
        };
        let is_folder = node == Node::Folder;
        let found = Found {
            path: path.clone(),
            node,
            metadata,
        };
        each(found)?;
        if is_folder {
            descend(root, &path, links, each)?;
        }
    }
    Ok(())
}

pub(super) fn is_ours(name: &OsString) -> bool {
    name.as_bytes().starts_with(OURS.as_bytes())
}

/// Adds up what is in a tree.
#[derive(Default)]
struct Sum {
    hash: Sha256,
    entries: u64,
    bytes: u64,
}

impl Sum {
    fn add(&mut self, path: &Path, node: &Node, about: About, content: Option<Content>) {
        let (word, target): (&[u8], &Path) = match node {
            Node::Folder => (b"folder", Path::new("")),
            Node::File => (b"file", Path::new("")),
            Node::Symlink(target) => (b"symlink", target),
            Node::Hardlink(first) => (b"hardlink", first),
            Node::Pipe => (b"pipe", Path::new("")),
        };
        // A link has no rights of its own, and a hard link those of its file.
        let about = match node {
            Node::Symlink(_) => About {
                mode: 0,
                mtime: 0,
                ..about
            },
            Node::Hardlink(_) => About::default(),
            Node::Folder | Node::Pipe => About { mtime: 0, ..about },
            Node::File => about,
        };
        let (length, digest) = content.unwrap_or_default();
        let numbers = [about.mode, about.uid, about.gid, about.mtime, length];
        let numbers: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        for part in [
            path.as_os_str().as_bytes(),
            word,
            target.as_os_str().as_bytes(),
            &numbers,
            &digest,
        ] {
            self.hash.update((part.len() as u64).to_le_bytes());
            self.hash.update(part);
        }
        self.entries += 1;
        self.bytes += length;
    }

    fn done(self) -> Tree {
        Tree {
            digest: hex(&self.hash.finalize()),
            entries: self.entries,
            bytes: self.bytes,
        }
    }
}

/// A file's length and digest.
type Content = (u64, Vec<u8>);

#[derive(Debug, Clone, Copy, Default)]
struct About {
    mode: u64,
    uid: u64,
    gid: u64,
    mtime: u64,
}

fn content(from: &mut dyn io::Read) -> io::Result<Content> {
    let mut hash = Sha256::new();
    let length = feed(from, &mut hash)?;
    Ok((length, hash.finalize().to_vec()))
}

/// What is in a folder now.
pub(super) fn of_folder(root: &Path, go_on: &dyn Fn() -> Result<(), Stop>) -> Result<Tree, Stop> {
    let mut sum = Sum::default();
    walk(root, &mut |found| {
        go_on()?;
        let about = About {
            mode: u64::from(found.metadata.mode() & 0o7777),
            uid: found.metadata.uid().into(),
            gid: found.metadata.gid().into(),
            mtime: found.metadata.mtime().unsigned_abs(),
        };
        let content = if found.node == Node::File {
            let full = root.join(&found.path);
            let read = open(&full).and_then(|mut file| content(&mut file));
            Some(read.map_err(|error| failed("read", &full, &error))?)
        } else {
            None
        };
        sum.add(&found.path, &found.node, about, content);
        Ok(())
    })?;
    Ok(sum.done())
}

/// What is in an archive, read from its first byte to its last.
pub(super) fn of_archive(path: &Path, go_on: &dyn Fn() -> Result<(), Stop>) -> Result<Tree, Stop> {
    let broken = |error: io::Error| failed("read the archive", path, &error);
    let file = File::open(path).map_err(broken)?;
    let mut archive = Archive::new(io::BufReader::new(file));
    let mut sum = Sum::default();
    for entry in archive.entries().map_err(broken)? {
        go_on()?;
        let mut entry = entry.map_err(broken)?;
        let header = entry.header();
        let about = About {
            mode: u64::from(header.mode().map_err(broken)? & 0o7777),
            uid: header.uid().map_err(broken)?,
            gid: header.gid().map_err(broken)?,
            mtime: header.mtime().map_err(broken)?,
        };
        let kind = header.entry_type();
        let name = entry.path_bytes().into_owned();
        let name = name.strip_suffix(b"/").unwrap_or(&name).to_vec();
        let target = || {
            let link = entry.link_name_bytes().unwrap_or_default().into_owned();
            PathBuf::from(OsString::from_vec(link))
        };
        let node = match kind {
            EntryType::Directory => Node::Folder,
            EntryType::Symlink => Node::Symlink(target()),
            EntryType::Link => Node::Hardlink(target()),
            EntryType::Fifo => Node::Pipe,
            _ => Node::File,
        };
        let content = match node {
            Node::File => Some(content(&mut entry).map_err(broken)?),
            _ => None,
        };
        let name = PathBuf::from(OsString::from_vec(name));
        sum.add(&name, &node, about, content);
    }
    Ok(sum.done())
}

/// How many things in a folder were made or changed since then.
pub(super) fn changed_since(root: &Path, since: Timestamp) -> Result<u64, String> {
    let mut count = 0;
    let since = since.as_millis();
    let counted = walk(root, &mut |found| {
        let of = &found.metadata;
        let changed = of.ctime().saturating_mul(1000) + of.ctime_nsec() / 1_000_000;
        count += u64::from(changed > since);
        Ok(())
    });
    match counted {
        Ok(()) => Ok(count),
        Err(Stop::Failed(why)) => Err(why),
        Err(Stop::Cancelled) => Err("it was asked to stop".to_owned()),
    }
}
