// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `anchorite check`: a board config judged, nothing written.
use std::io::IsTerminal;

use crate::cli::BoardArgs;
use crate::config::diagnostic::Refusal;
use crate::{build, config, exit, say};

/// Runs the command. The guest's files are judged as far as they are there.
///
/// # Errors
/// A file that cannot be read, or a malformed option.
pub fn check(args: &BoardArgs) -> anyhow::Result<u8> {
    let overrides = config::set_overrides(args)?;
    let loaded = match config::load(&args.board, overrides)? {
        Ok(loaded) => loaded,
        Err(refusal) => return Ok(refuse(&build::with_files(refusal)?, args.json)),
    };
    let preflight = build::preflight(&loaded)?;
    if !preflight.mistakes.is_empty() {
        return Ok(refuse(&Refusal::new(loaded.sources, preflight.mistakes), args.json));
    }
    if args.json {
        let report = serde_json::json!({
            "ok": true,
            "board": loaded.config.board,
            "diagnostics": [],
            "unchecked": preflight.unchecked,
            "not_proved": preflight.not_proved,
        });
        say::line(report);
    } else {
        say::line(format!("{}: in order", args.board.display()));
        preflight.unchecked.iter().for_each(|what| say::line(format!("not checked: {what}")));
        preflight.not_proved.iter().for_each(|wall| say::line(format!("NOT PROVED: {wall}")));
    }
    Ok(exit::OK)
}

/// Prints mistakes: for people on stderr, as JSON on stdout.
pub fn refuse(refusal: &Refusal, json: bool) -> u8 {
    if json {
        say::line(refusal.to_json());
    } else {
        say::aside(refusal.render(std::io::stderr().is_terminal()).trim_end());
    }
    exit::REFUSED
}
