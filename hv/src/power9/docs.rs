// SPDX-License-Identifier: Apache-2.0 OR MIT
//! docs/exits.md, made from the tables that serve and count, so that they cannot differ.
//! `UPDATE=1 cargo test -p anchorite-hv` writes it anew.
use core::fmt::Write;

use anchorite_spec::ExitReason;
use anchorite_spec::papr::{self, REFUSED};
use anchorite_spec::rtas::{self, ABSENT, SERVICES};

use super::fake::Fake;
use super::hcall::calls;

const HEAD: &str = "\
# Exits

Why a guest leaves for the firmware. The names are those of the ledger, of `anchorite stats` and of \
the console's `@exit` lines. Made from the firmware's own tables by `UPDATE=1 cargo test -p \
anchorite-hv`.

| Reason | Meaning |
|---|---|
";

const SERVED: &str = "
## Hypercalls served on POWER9

Numbers and semantics are LoPAR's. From problem state each is answered with a privileged program \
interrupt. The last column has what only the machine underneath can bring about; an own guest of \
the tests brings about all the rest.

| Number | Call | Counted as | Returns | By the machine |
|---|---|---|---|---|
";

const REFUSALS: &str = "
## Hypercalls refused on POWER9

These, and every number that nobody has, return H_FUNCTION and are counted as `hcall-unknown`. None \
is announced in `ibm,hypertas-functions`.

| Calls | Why |
|---|---|
";

const SERVICED: &str = "
## RTAS services on POWER9

Inputs and outputs are words of the argument buffer, the status among the outputs. Success stands \
only where the call returns. Any other token, or another number of words, is a parameter error.

| Service | Token | In | Out | Counted as | Returns | By the machine |
|---|---|---|---|---|---|---|
";

const LACKING: &str = "
## RTAS services that the guest's tree does not name

| Services | Why |
|---|---|
";

fn names(codes: &[i64]) -> String {
    codes.iter().map(|code| papr::code_name(*code)).collect::<Vec<_>>().join(", ")
}

fn statuses(statuses: &[i32]) -> String {
    let name = |status: &i32| format!("{status} {}", rtas::status_name(*status));
    statuses.iter().map(name).collect::<Vec<_>>().join(", ")
}

#[test]
fn the_documentation_is_the_table() {
    let mut page = String::from(HEAD);
    for reason in ExitReason::ALL {
        let _ = writeln!(page, "| `{}` | {} |", reason.name(), reason.meaning().trim());
    }
    page.push_str(SERVED);
    for call in &calls::<Fake>() {
        let row = papr::served(call.number).expect("a row");
        let (reason, returns, machine) = (call.reason.name(), names(row.codes), names(row.machine));
        let _ = writeln!(
            page,
            "| {:#x} | {} | `{reason}` | {returns} | {machine} |",
            row.number, row.name
        );
    }
    page.push_str(REFUSALS);
    for refused in REFUSED {
        let calls = refused.calls.iter().map(|(number, name)| format!("{number:#x} {name}"));
        let _ = writeln!(page, "| {} | {} |", calls.collect::<Vec<_>>().join(", "), refused.why);
    }
    page.push_str(SERVICED);
    for (service, reason) in SERVICES.iter().zip(super::rtas::reasons::<Fake>()) {
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | `{}` | {} | {} |",
            service.name,
            service.token,
            service.inputs,
            service.outputs,
            reason.name(),
            statuses(service.statuses),
            statuses(service.machine)
        );
    }
    page.push_str(LACKING);
    for absent in ABSENT {
        let _ = writeln!(page, "| {} | {} |", absent.names.join(", "), absent.why);
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/exits.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &page).expect("docs/exits.md can be written");
    }
    assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), page);
}
