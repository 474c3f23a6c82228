//! The repository's text files.

use std::path::Path;

use anyhow::{Context, Result};

/// One text file; `path` is relative to the root, with forward slashes.
pub(super) struct SourceFile {
    pub(super) path: String,
    pub(super) text: String,
}

impl SourceFile {
    /// Lines with their numbers, counted from 1.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(i, line)| (i + 1, line))
    }

    /// File name without folders.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    pub(super) fn is_rust(&self) -> bool {
        self.has_extension("rs")
    }

    pub(super) fn is_markdown(&self) -> bool {
        self.has_extension("md")
    }

    fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|own| own == extension)
    }
}

/// All text files that git would keep, sorted by path. Binary files are left out.
pub(super) fn load(root: &Path) -> Result<Vec<SourceFile>> {
    let ignored = ignored_paths(root)?;
    let mut files = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(root.join(&folder))
            .with_context(|| format!("cannot read the folder {folder:?}"))?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if folder.is_empty() {
                name
            } else {
                format!("{folder}/{name}")
            };
            if ignored.contains(&path) {
                continue;
            }
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file()
                && let Ok(text) = std::fs::read_to_string(entry.path())
            {
                files.push(SourceFile { path, text });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// `.git` and the anchored lines of `.gitignore`; this repository has no other kind of line.
fn ignored_paths(root: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(root.join(".gitignore")).context("no .gitignore")?;
    let anchored = text.lines().filter_map(|line| line.strip_prefix('/'));
    let mut paths: Vec<String> = anchored
        .map(|path| path.trim_end_matches('/').to_owned())
        .collect();
    paths.push(".git".to_owned());
    Ok(paths)
}
