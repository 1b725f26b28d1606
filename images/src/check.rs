// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `anchorite check`: a board config judged, nothing written.
use std::io::IsTerminal;

use crate::cli::BoardArgs;
use crate::config::diagnostic::Refusal;
use crate::{config, exit};

/// Runs the command.
///
/// # Errors
/// A file that cannot be read, or a malformed option.
pub fn check(args: &BoardArgs) -> anyhow::Result<u8> {
    let overrides = config::set_overrides(args)?;
    match config::load(&args.board, overrides)? {
        Ok(loaded) => {
            if args.json {
                println!(
                    "{}",
                    serde_json::json!({ "ok": true, "board": loaded.config.board, "diagnostics": [] })
                );
            } else {
                println!("{}: in order", args.board.display());
            }
            Ok(exit::OK)
        }
        Err(refusal) => Ok(refuse(&refusal, args.json)),
    }
}

/// Prints mistakes: for people on stderr, as JSON on stdout.
pub fn refuse(refusal: &Refusal, json: bool) -> u8 {
    if json {
        println!("{}", refusal.to_json());
    } else {
        eprint!("{}", refusal.render(std::io::stderr().is_terminal()));
    }
    exit::REFUSED
}
