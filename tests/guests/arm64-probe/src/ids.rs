// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the processor says that it is: with `ids` in the command line, each identification register
//! that is not zero, by its encoding, and nothing else.
use crate::psci::power_off;
use crate::say;
use crate::trap::{EL1H, encoding, system, word};
use crate::tree::asked_for;

/// Says them and powers off, if that is asked for.
pub fn tell(tree: u64) {
    if !asked_for(tree, "ids") {
        return;
    }
    // MIDR_EL1, REVIDR_EL1, the AArch64 block, CTR_EL0 and DCZID_EL0.
    let block = (4..8).flat_map(|crm| (0..8).map(move |op2| (0, crm, op2)));
    for (op1, crm, op2) in
        [(0, 0, 0), (0, 0, 6)].into_iter().chain(block).chain([(3, 0, 1), (3, 0, 7)])
    {
        let read = word(EL1H, system(encoding(3, op1, 0, crm, op2), true), 0, 0);
        match (read.ran(), read.x(1)) {
            (true, 0) => {}
            (true, value) => say!("id S3_{op1}_C0_C{crm}_{op2} {value:#018x}"),
            (false, _) => say!("id S3_{op1}_C0_C{crm}_{op2} cannot be read"),
        }
    }
    power_off();
}
