// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Finds the files that an image is made of: guests by recipe or path, and the firmware's own ELFs.
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use super::fault::Fault;
use crate::config::checked::Placed;
use crate::config::diagnostic::Diagnostic;
use crate::config::platform::Platform;
use crate::config::structure::nearest;
use crate::read;

/// The rule that a recipe breaks which was never made.
pub const MISSING_RECIPE: &str = "missing-recipe";

/// Overrides where `target/` is looked for.
const ROOT_VARIABLE: &str = "ANCHORITE_ROOT";

/// A file's content and where it came from.
pub struct Input {
    /// The content.
    pub bytes: Vec<u8>,
    /// Its origin, one `key=value` a line; empty for a path.
    pub source: String,
    /// The source package that it was built from, in the same way; empty if the recipe does not know.
    pub source_package: String,
    /// Where the config names it.
    pub span: std::ops::Range<usize>,
    /// How messages name it.
    pub name: String,
}

/// What a recipe yields.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A kernel.
    Kernel,
    /// An initial file system.
    Initrd,
}

impl Kind {
    fn file(self) -> &'static str {
        match self {
            Self::Kernel => "vmlinux",
            Self::Initrd => "initramfs.cpio",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Initrd => "initrd",
        }
    }
}

/// The project's directory: an ancestor of this program or of the working directory that holds
/// `board-configs/`.
///
/// # Errors
/// There is none.
pub fn root() -> anyhow::Result<PathBuf> {
    if let Some(root) = std::env::var_os(ROOT_VARIABLE) {
        return Ok(root.into());
    }
    let starts = [std::env::current_exe().ok(), std::env::current_dir().ok()];
    starts
        .iter()
        .flatten()
        .flat_map(|start| start.ancestors())
        .find(|dir| dir.join("board-configs").is_dir())
        .map(Path::to_path_buf)
        .ok_or_else(|| anyhow!("no directory with board-configs/ above here: set {ROOT_VARIABLE}"))
}

/// Reads a guest file that the config names as a recipe or as a path.
///
/// # Errors
/// The file is missing, cannot be read or is empty.
pub fn guest_file(
    root: &Path,
    platform: &Platform,
    named: &Placed<String>,
    kind: Kind,
) -> Result<Input, Fault> {
    let name = &named.value;
    let is_path = name.contains('/') || Path::new(name).is_file();
    let (path, recipe) = if is_path {
        (PathBuf::from(name), None)
    } else {
        let dir = root.join("target/guests").join(name);
        (dir.join(kind.file()), Some(dir))
    };
    let refuse = |rule, what: String, help: &str| {
        let title = format!("the {} {what}", kind.name());
        Fault::from(Diagnostic::new(rule, title, named.span.clone(), "named here").help(help))
    };
    let known = recipes(root);
    if let Some(recipe) = known.iter().flatten().find(|known| !is_path && known.name == *name) {
        let fitting = |recipe: &&Recipe| recipe.suits(platform, kind);
        let names: Vec<_> =
            known.iter().flatten().filter(fitting).map(|r| r.name.as_str()).collect();
        if !recipe.suits(platform, kind) {
            let what = format!("recipe `{name}` is {}", recipe.describe());
            return Err(refuse("recipe", what, &format!("write one of {}", names.join(", "))));
        }
    }
    let bytes = read::file(&path, read::GUEST_FILE).map_err(|error| match (&recipe, &known) {
        (None, _) => refuse(
            "missing-input",
            format!("{} cannot be read: {error}", path.display()),
            "name a file that exists, or a recipe of images/guests/",
        ),
        (Some(_), Some(known)) if !known.iter().any(|known| known.name == *name) => {
            let fitting = known.iter().filter(|known| known.suits(platform, kind));
            let names: Vec<_> = fitting.map(|recipe| recipe.name.as_str()).collect();
            let what = format!("`{name}` is no file and no recipe");
            let help = match nearest(name, &names) {
                Some(near) => format!("did you mean `{near}`? To name a file, write its path"),
                None => format!("recipes are {}; to name a file, write its path", names.join(", ")),
            };
            refuse("unknown-recipe", what, &help)
        }
        (Some(_), _) => refuse(
            MISSING_RECIPE,
            format!("recipe `{name}` is not made: {} is not there", path.display()),
            "`make guests` fetches it",
        ),
    })?;
    if bytes.is_empty() {
        let what = format!("{} is empty", path.display());
        return Err(refuse("missing-input", what, "name another file"));
    }
    let told = |file: &str| {
        let dir = recipe.as_ref()?;
        std::fs::read_to_string(dir.join(file)).ok()
    };
    Ok(Input {
        bytes,
        source: told("source").unwrap_or_default(),
        source_package: told("source-package").unwrap_or_default(),
        span: named.span.clone(),
        name: path.display().to_string(),
    })
}

#[cfg(test)]
impl Input {
    /// A file of no known origin.
    pub fn unknown(name: &str, bytes: Vec<u8>) -> Self {
        let (source, source_package) = Default::default();
        Self { bytes, source, source_package, span: 0..0, name: name.into() }
    }
}

/// A recipe as the lock has it.
struct Recipe {
    name: String,
    /// Debian's name of its architecture, if the lock states it.
    arch: Option<String>,
    /// It yields single files, for the file systems of tests: no guest is made of it alone.
    files: bool,
}

impl Recipe {
    fn kind(&self) -> Kind {
        if self.name.starts_with("shell") { Kind::Initrd } else { Kind::Kernel }
    }

    fn suits(&self, platform: &Platform, kind: Kind) -> bool {
        self.kind() == kind && self.arch.as_deref().is_none_or(|arch| arch == platform.debian)
    }

    fn describe(&self) -> String {
        let kind = match self.kind() {
            Kind::Kernel => "a kernel",
            Kind::Initrd => "an initial file system",
        };
        format!("{kind} for {}", self.arch.as_deref().unwrap_or("another machine"))
    }
}

/// The recipes that the lock knows, if there is a lock: the names of its tables. They hold dots,
/// and stand there as scripts read them, without quotes.
fn recipes(root: &Path) -> Option<Vec<Recipe>> {
    let text = std::fs::read_to_string(root.join("images/guests/lock.toml")).ok()?;
    let mut recipes: Vec<Recipe> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            recipes.push(Recipe { name: name.into(), arch: None, files: false });
        } else if let Some(recipe) = recipes.last_mut() {
            if let Some(arch) = line.strip_prefix("arch = ") {
                recipe.arch = Some(arch.trim_matches('"').into());
            }
            recipe.files |= line.starts_with("files = ");
        }
    }
    recipes.retain(|recipe| !recipe.files);
    Some(recipes)
}

/// Whether the firmware's ELFs are there.
#[must_use]
pub fn has_firmware(root: &Path, family: &str) -> bool {
    ["loader.elf", "body.elf"].iter().all(|name| firmware_path(root, family, name).is_file())
}

fn firmware_path(root: &Path, family: &str, name: &str) -> PathBuf {
    root.join("target/firmware").join(family).join(name)
}

/// Reads one of the firmware's ELFs.
///
/// # Errors
/// It is not there.
pub fn firmware_file(root: &Path, family: &str, name: &str) -> anyhow::Result<Vec<u8>> {
    let path = firmware_path(root, family, name);
    std::fs::read(&path).with_context(|| {
        format!("the firmware {} is not there: `make tools` builds it", path.display())
    })
}
