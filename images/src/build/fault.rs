// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Why a build stops: a mistake in its input, or a failure of something else.
use crate::config::diagnostic::Diagnostic;

/// Why a build stops.
#[derive(Debug)]
pub enum Fault {
    /// The input is wrong; the user is told where.
    Input(Box<Diagnostic>),
    /// A tool or the file system failed.
    Tool(anyhow::Error),
}

impl From<Diagnostic> for Fault {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::Input(Box::new(diagnostic))
    }
}

impl From<anyhow::Error> for Fault {
    fn from(error: anyhow::Error) -> Self {
        Self::Tool(error)
    }
}
