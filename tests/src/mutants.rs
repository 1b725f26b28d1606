// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Mutations: a mechanism is taken out of a copy of this tree, and a test has to notice.
//!
//! Each list under `tests/mutants/` names for every mechanism what is replaced by what, in which file,
//! and the test that fails then. The text to replace must stand in its file exactly once, so that a
//! list which the code has left behind is an error and not a mechanism that nobody misses.
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::{BETWEEN_LOOKS, output, root};

/// A build, on a machine with other things to do.
const BUILD: Duration = Duration::from_secs(3600);

/// One list: a file of `tests/mutants/`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// What can be taken out.
    pub mutant: Vec<Mutant>,
    /// What the firmware does not have.
    #[serde(default)]
    pub absent: Vec<Absent>,
}

/// A mechanism taken out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mutant {
    /// The mechanism: an architecture and a number, as docs/mechanisms.md has them.
    pub mechanism: String,
    /// What is removed, for people.
    pub removed: String,
    /// The file, from the tree's root.
    pub file: PathBuf,
    /// What stands there.
    pub old: String,
    /// What stands there instead.
    pub new: String,
    /// The host crate whose test it is; without one it is a QEMU test.
    pub package: Option<String>,
    /// The test that has to fail.
    pub test: String,
}

/// A mechanism, or a part of one, that is not there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Absent {
    /// As [`Mutant::mechanism`].
    pub mechanism: String,
    /// What is not there, and why.
    pub why: String,
}

/// All lists.
///
/// # Errors
///
/// One is missing, or not as [`List`] has it.
pub fn lists() -> Result<Vec<List>> {
    ["power9", "arm64", "common"]
        .into_iter()
        .map(|name| {
            let path = root().join("tests/mutants").join(name).with_extension("toml");
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            toml::from_str(&text).with_context(|| path.display().to_string())
        })
        .collect()
}

impl Mutant {
    /// The file's text without the mechanism.
    ///
    /// # Errors
    ///
    /// What is to be replaced is not there exactly once.
    pub fn applied(&self, text: &str) -> Result<String> {
        let found = text.matches(&self.old).count();
        let (mechanism, file) = (&self.mechanism, self.file.display());
        ensure!(
            found == 1,
            "{mechanism}: what tests/mutants wants to replace stands {found} times in {file}, not \
             once:\n{}",
            self.old
        );
        Ok(text.replacen(&self.old, &self.new, 1))
    }
}

/// What became of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It passed.
    Passed,
    /// It failed.
    Failed,
    /// It did not end, which is as good.
    NoEnd,
}

/// A copy of the tree, with what it has built.
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    /// Makes the copy what this tree is. Files that are the same already are not touched, so that
    /// what was built from them is still good.
    ///
    /// # Errors
    ///
    /// Files cannot be read or written.
    pub fn refreshed() -> Result<Self> {
        let tree = Self { root: root().join("target/mutants/tree") };
        let listed = output(Command::new("git").current_dir(root()).args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
        ]))?;
        ensure!(
            listed.status.success(),
            "git ls-files: {}",
            String::from_utf8_lossy(&listed.stderr)
        );
        for name in String::from_utf8(listed.stdout)?.lines() {
            let (from, to) = (root().join(name), tree.root.join(name));
            match fs::read(&from) {
                Ok(bytes) => put(&to, &bytes, fs::metadata(&from)?.permissions())?,
                // Removed, and not committed yet.
                Err(_) => drop(fs::remove_file(&to)),
            }
        }
        let toolchain = root().join("target/toolchain.sh");
        let permissions = fs::metadata(&toolchain)?.permissions();
        put(&tree.root.join("target/toolchain.sh"), &fs::read(&toolchain)?, permissions)?;
        let guests = tree.root.join("target/guests");
        if !guests.exists() {
            std::os::unix::fs::symlink(root().join("target/guests").canonicalize()?, guests)?;
        }
        Ok(tree)
    }

    /// Runs a mutant's test on the tree as it is, and says how long that took without its build. One
    /// that takes longer than this fails.
    ///
    /// # Errors
    ///
    /// The tree does not build, or the test did not run.
    pub fn outcome(&self, mutant: &Mutant, limit: Duration) -> Result<(Outcome, Duration)> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["test", "--target-dir", "target", "-p"]);
        match &mutant.package {
            Some(package) => build.args([package.as_str(), "--tests"]),
            None => {
                for script in ["scripts/build-firmware", "scripts/build-tools"] {
                    self.run(&mut Command::new(self.root.join(script)), BUILD)?;
                }
                build.args(["anchorite-tests", "--test", "qemu"])
            }
        };
        let mut test = Command::new(build.get_program());
        test.args(build.get_args()).args(["--", "--exact", &mutant.test]);
        self.run(build.arg("--no-run"), BUILD)?;
        let since = Instant::now();
        let (status, said) = self.ended(&mut test, limit)?;
        let took = since.elapsed();
        // libtest-mimic pads names, libtest does not.
        let verdict = said.lines().find_map(|line| {
            let (name, verdict) = line.strip_prefix("test ")?.split_once("...")?;
            (name.trim() == mutant.test).then(|| verdict.trim().to_owned())
        });
        match (status, verdict.as_deref()) {
            (Some(_), Some("ok")) => Ok((Outcome::Passed, took)),
            (Some(_), Some("FAILED")) => Ok((Outcome::Failed, took)),
            (None, _) => Ok((Outcome::NoEnd, took)),
            _ => bail!("{} did not run:\n{said}", mutant.test),
        }
    }

    /// Takes the mechanism out, runs its test, and puts it back.
    ///
    /// # Errors
    ///
    /// As [`Self::outcome`] and [`Mutant::applied`].
    pub fn without(&self, mutant: &Mutant, limit: Duration) -> Result<Outcome> {
        let path = self.root.join(&mutant.file);
        let whole = fs::read_to_string(&path)?;
        fs::write(&path, mutant.applied(&whole)?)?;
        let outcome = self.outcome(mutant, limit);
        fs::write(&path, whole)?;
        outcome.map(|(outcome, _)| outcome)
    }

    /// Runs what has to succeed.
    fn run(&self, command: &mut Command, limit: Duration) -> Result<()> {
        let (status, said) = self.ended(command, limit)?;
        ensure!(status.is_some_and(|status| status.success()), "{command:?}: {status:?}\n{said}");
        Ok(())
    }

    /// Runs a command: how it ended, unless it had to be stopped, and what it said.
    fn ended(
        &self,
        command: &mut Command,
        limit: Duration,
    ) -> Result<(Option<ExitStatus>, String)> {
        let path = self.root.join("target/mutant.log");
        let log = fs::File::create(&path)?;
        // A group of its own, which ends with it: QEMU is in it.
        command.current_dir(&self.root).process_group(0).stdin(Stdio::null());
        let mut child = command.stdout(log.try_clone()?).stderr(log).spawn()?;
        let until = Instant::now() + limit;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break Some(status);
            }
            if Instant::now() > until {
                let group = format!("-{}", child.id());
                Command::new("kill").args(["-KILL", "--", &group]).status()?;
                child.wait()?;
                break None;
            }
            std::thread::sleep(BETWEEN_LOOKS);
        };
        Ok((status, String::from_utf8_lossy(&fs::read(&path)?).into_owned()))
    }
}

fn put(to: &Path, bytes: &[u8], permissions: fs::Permissions) -> Result<()> {
    if fs::read(to).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    if let Some(directory) = to.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(to, bytes).with_context(|| to.display().to_string())?;
    Ok(fs::set_permissions(to, permissions)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So that a change of the code says at once that its mutants must follow.
    #[test]
    fn what_is_to_be_replaced_is_there_once() -> Result<()> {
        for mutant in lists()?.iter().flat_map(|list| &list.mutant) {
            let text = fs::read_to_string(root().join(&mutant.file))?;
            assert_ne!(mutant.applied(&text)?, text, "{} changes nothing", mutant.mechanism);
        }
        Ok(())
    }

    #[test]
    fn every_mechanism_is_taken_out_or_said_not_to_be_there() -> Result<()> {
        let lists = lists()?;
        let mutants = lists.iter().flat_map(|list| &list.mutant).map(|m| &m.mechanism);
        let absent = lists.iter().flat_map(|list| &list.absent).map(|a| &a.mechanism);
        let named: Vec<&String> = mutants.chain(absent).collect();
        let book = fs::read_to_string(root().join("docs/mechanisms.md"))?;
        for (architecture, last, all) in [("POWER9", 9, 18), ("arm64", 5, 8)] {
            for number in 1..=all {
                let name = format!("{architecture} {number}");
                let paragraph = book.contains(&format!("**{number}. "));
                assert!(paragraph, "docs/mechanisms.md says nothing of {name}");
                assert!(number > last || named.contains(&&name), "nobody takes out {name}");
            }
        }
        Ok(())
    }

    #[test]
    fn a_list_that_is_left_behind_is_an_error() {
        let mutant = Mutant {
            mechanism: "POWER9 1".into(),
            removed: String::new(),
            file: "a".into(),
            old: "two".into(),
            new: String::new(),
            package: None,
            test: String::new(),
        };
        assert_eq!(mutant.applied("one two three").expect("once"), "one  three");
        assert!(mutant.applied("one three").is_err() && mutant.applied("two two").is_err());
    }
}
