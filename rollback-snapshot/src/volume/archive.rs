//! From a folder to an archive, and back into an empty folder.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use tar::{Archive, Builder, EntryType, Header};

use super::tree::{Found, Node, open, walk};
use crate::{files::failed, job::Stop};

/// Writes all that is in `root` into one file.
pub(super) fn write(
    root: &Path,
    to: &Path,
    go_on: &dyn Fn() -> Result<(), Stop>,
) -> Result<(), Stop> {
    let unwritten = |error: io::Error| failed("write", to, &error);
    let file = File::create(to).map_err(unwritten)?;
    let mut archive = Builder::new(BufWriter::new(file));
    archive.follow_symlinks(false);
    walk(root, &mut |found| {
        go_on()?;
        let full = root.join(&found.path);
        append(&mut archive, &full, &found)
            .map_err(|error| failed("copy", &full, &error))
            .map_err(Stop::Failed)
    })?;
    archive
        .into_inner()
        .and_then(|mut to| to.flush().map(|()| to))
        .and_then(|to| to.into_inner().map_err(io::IntoInnerError::into_error))
        .and_then(|file| file.sync_all())
        .map_err(|error| unwritten(error).into())
}

fn append(archive: &mut Builder<impl io::Write>, full: &Path, found: &Found) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_metadata(&found.metadata);
    header.set_size(0);
    match &found.node {
        Node::Folder => archive.append_data(&mut header, &found.path, io::empty()),
        Node::File => {
            let mut file = open(full)?;
            // Whoever put another file there in the meantime.
            let about = file.metadata()?;
            if (about.dev(), about.ino()) != (found.metadata.dev(), found.metadata.ino()) {
                return Err(io::Error::other("it was replaced while it was copied"));
            }
            archive.append_file(&found.path, &mut file)
        }
        Node::Symlink(target) => {
            header.set_entry_type(EntryType::Symlink);
            archive.append_link(&mut header, &found.path, target)
        }
        Node::Hardlink(first) => {
            header.set_entry_type(EntryType::Link);
            archive.append_link(&mut header, &found.path, first)
        }
        Node::Pipe => {
            header.set_entry_type(EntryType::Fifo);
            archive.append_data(&mut header, &found.path, io::empty())
        }
    }
}

/// Writes all that is in an archive into a folder that is empty.
pub(super) fn unpack(
    from: &Path,
    to: &Path,
    go_on: &dyn Fn() -> Result<(), Stop>,
) -> Result<(), Stop> {
    let broken = |error: io::Error| failed("read the archive", from, &error);
    let file = File::open(from).map_err(broken)?;
    let mut archive = Archive::new(io::BufReader::new(file));
    let root = rustix::process::geteuid().is_root();
    archive.set_preserve_permissions(true);
    archive.set_preserve_mtime(true);
    archive.set_preserve_ownerships(root);
    // Rights of folders come last: one that may not be written to holds files all the same.
    let mut folders = Vec::new();
    for entry in archive.entries().map_err(broken)? {
        go_on()?;
        let mut entry = entry.map_err(broken)?;
        let path = entry.path().map_err(broken)?.into_owned();
        let unwritten = |error: io::Error| failed("write", &to.join(&path), &error);
        match entry.header().entry_type() {
            EntryType::Directory => {
                let header = entry.header().clone();
                fs::create_dir(to.join(&path)).map_err(unwritten)?;
                folders.push((path, header));
            }
            EntryType::Fifo => {
                let mode = entry.header().mode().map_err(broken)?;
                let full = to.join(&path);
                let kind = rustix::fs::FileType::Fifo;
                let pipe = rustix::fs::mknodat(
                    rustix::fs::CWD,
                    &full,
                    kind,
                    rustix::fs::Mode::from_raw_mode(mode & 0o7777),
                    0,
                );
                pipe.map_err(|error| unwritten(error.into()))?;
                settle(&full, entry.header(), root).map_err(unwritten)?;
            }
            _ => match entry.unpack_in(to).map_err(unwritten)? {
                true => {}
                false => {
                    return Err(Stop::Failed(format!(
                        "the archive `{}` names a place outside of its folder: `{}`",
                        from.display(),
                        path.display()
                    )));
                }
            },
        }
    }
    for (path, header) in folders.iter().rev() {
        let full = to.join(path);
        settle(&full, header, root).map_err(|error| failed("give rights to", &full, &error))?;
    }
    Ok(())
}

/// Gives owner and rights to what is no link: the owner first, since that takes special rights away.
fn settle(full: &Path, header: &Header, root: bool) -> io::Result<()> {
    if root {
        let id = |id: u64| u32::try_from(id).map_err(io::Error::other);
        std::os::unix::fs::lchown(full, Some(id(header.uid()?)?), Some(id(header.gid()?)?))?;
    }
    let mode = std::os::unix::fs::PermissionsExt::from_mode(header.mode()? & 0o7777);
    fs::set_permissions(full, mode)
}
