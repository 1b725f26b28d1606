// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How much of the machine the guest has (LoPAR 14.11, the hcalls of the shared processor option):
//! each vCPU has a core to itself, so it is a partition of dedicated processors.
use super::board::Power9;
use super::context::GuestContext;
use super::hcall::{HcallError, HcallResult, done};
use super::vcpu::Vcpu;

/// The pool's number of a partition that is in none.
const NO_POOL: u64 = 0xffff;
/// The capacity is never exceeded.
const CAPPED: u64 = 1 << 48;

/// Hundredths of a processor that the guest has.
fn entitled<M>(v: &Vcpu<M>) -> u64 {
    100 * v.shared.vcpus as u64
}

/// H_GET_PPP: entitled capacity, unallocated capacity, aggregation, the platform's processors.
pub fn get_ppp<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> HcallResult {
    ctx.gpr[4] = entitled(v);
    ctx.gpr[5] = 0;
    ctx.gpr[6] = NO_POOL;
    ctx.gpr[7] = CAPPED | u64::from(v.shared.cores);
    done()
}

/// H_SET_PPP(entitled capacity, weight): it has what it has.
pub fn set_ppp<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> HcallResult {
    match (ctx.gpr[4], ctx.gpr[5]) {
        (_, 256..) => Err(HcallError::Parameter),
        (wanted, 0) if wanted == entitled(v) => done(),
        _ => Err(HcallError::Constrained),
    }
}

/// H_PURR: how much of its core the vCPU has used.
pub fn purr<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> HcallResult {
    ctx.gpr[4] = v.machine.purr();
    done()
}

/// H_POLL_PENDING: the firmware never wants a core for work of its own.
pub fn poll_pending<M: Power9>(_: &mut Vcpu<M>, _: &mut GuestContext, _: [u64; 4]) -> HcallResult {
    done()
}

#[cfg(test)]
mod tests {
    use super::super::fake::{call, vcpu_of};

    #[test]
    fn dedicated_processors() {
        let mut v = vcpu_of(3);
        assert_eq!(call(&mut v, &[0xec]), [0, 300, 0, 0xffff, 1 << 48 | 4]);
        for (args, code) in [([300, 0], 0), ([100, 0], 4), ([300, 255], 4), ([300, 256], -4)] {
            assert_eq!(call(&mut v, &[0xf0, args[0], args[1]])[0] as i64, code, "{args:?}");
        }
        v.machine.ticks = 77;
        assert_eq!(call(&mut v, &[0xf4])[..2], [0, 77]);
        assert_eq!(call(&mut v, &[0x1d8])[0], 0);
    }
}
