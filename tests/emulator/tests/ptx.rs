//! Small PTX texts, interpreted without nvcc.

use cudaemulator::driver::{LoadedModule, run};
use cudaemulator::exec::{Fault, Options};
use cudaemulator::memory::memory;

const HEAD: &str = ".version 9.0\n.target sm_90\n.address_size 64\n";

/// Runs a kernel that gets the address of an array of `u32`, one element a thread of one block, and gives the array.
fn run_text(text: &str, threads: u32, initial: &[u32]) -> Result<Vec<u32>, Fault> {
    let module = LoadedModule::new(&format!("{HEAD}{text}")).expect("the module is read");
    let program = module.decode("k").expect("the kernel is decoded");
    assert!(program.messages.is_empty(), "{:?}", program.messages);
    let mut values = initial.to_vec();
    let base = memory().alloc(size_of_val(initial));
    unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), base as *mut u32, values.len()) };
    let result = run(&program, [1; 3], [threads, 1, 1], 0, &base.to_le_bytes(), Options::default());
    unsafe { std::ptr::copy_nonoverlapping(base as *const u32, values.as_mut_ptr(), values.len()) };
    memory().free(base);
    result.map(|()| values)
}

/// A kernel body with the thread's element in `%r0`, stored from `%r0` at the end; `%r1` is the thread's number.
fn kernel(declarations: &str, body: &str) -> String {
    format!(
        "{declarations}
.visible .entry k(.param .u64 k_0)
{{
    .reg .pred %p<9>;
    .reg .b16 %h<9>;
    .reg .b32 %r<20>;
    .reg .f32 %f<9>;
    .reg .b64 %d<9>;
    ld.param.u64 %d0, [k_0];
    cvta.to.global.u64 %d0, %d0;
    mov.u32 %r1, %tid.x;
    mad.wide.u32 %d1, %r1, 4, %d0;
    ld.global.u32 %r0, [%d1];
    {body}
    st.global.u32 [%d1], %r0;
    ret;
}}"
    )
}

fn map(declarations: &str, body: &str, initial: &[u32]) -> Vec<u32> {
    run_text(&kernel(declarations, body), initial.len() as u32, initial).unwrap()
}

#[test]
fn functions_take_and_give_structures() {
    let declarations = "
.func (.param .align 8 .b8 out[8]) twice_and_square(.param .b32 v)
{
    .reg .b32 %x<4>;
    ld.param.u32 %x0, [v];
    add.u32 %x1, %x0, %x0;
    mul.lo.u32 %x2, %x0, %x0;
    st.param.b32 [out+0], %x1;
    st.param.b32 [out+4], %x2;
    ret;
}";
    // Odd threads call, even ones don't: the lanes come back at different times.
    let body = "
    and.b32 %r2, %r1, 1;
    setp.eq.u32 %p0, %r2, 0;
    @%p0 bra even;
    {
        .param .b32 a;
        .param .align 8 .b8 b[8];
        st.param.b32 [a+0], %r0;
        call.uni (b), twice_and_square, (a);
        ld.param.b32 %r3, [b+0];
        ld.param.b32 %r4, [b+4];
    }
    add.u32 %r0, %r3, %r4;
even:";
    let initial: Vec<u32> = (0..40).collect();
    let expected: Vec<u32> = initial.iter().map(|&v| if v % 2 == 1 { 2 * v + v * v } else { v }).collect();
    assert_eq!(map(declarations, body, &initial), expected);
}

#[test]
fn branches_through_tables_meet_again() {
    let body = "
    and.b32 %r2, %r1, 3;
table: .branchtargets zero, one, two, zero;
    brx.idx %r2, table;
one:
    add.u32 %r0, %r0, 100;
    bra done;
two:
    add.u32 %r0, %r0, 200;
    bra done;
zero:
    add.u32 %r0, %r0, 300;
done:
    // All lanes are here: the vote is one over the whole warp.
    vote.sync.ballot.b32 %r3, 1, 0xffffffff;
    popc.b32 %r3, %r3;
    add.u32 %r0, %r0, %r3;";
    let expected: Vec<u32> = (0..32).map(|i| i + [300, 100, 200, 300][i as usize % 4] + 32).collect();
    assert_eq!(map("", body, &(0..32).collect::<Vec<_>>()), expected);
}

#[test]
fn shuffles_stay_in_their_segments() {
    let source: Vec<u32> = (0..32).map(|i| 10 * i).collect();
    let shuffled = |kind: &str, by: u32, c: u32| {
        map(
            "",
            &format!(
                "shfl.sync.{kind}.b32 %r0|%p0, %r0, {by}, {c}, -1;\n selp.b32 %r2, 1, 0, %p0;\n add.u32 %r0, %r0, %r2;"
            ),
            &source,
        )
    };
    // `c` as `__shfl_*_sync` make it for a width: (32 - width) << 8 | 31, without the 31 for `up`.
    let width = 8;
    for i in 0..32usize {
        let (segment, at) = (i / width * width, i % width);
        let value = |from: Option<usize>| from.map_or(10 * i, |j| 10 * (segment + j) + 1) as u32;
        let c = ((32 - width) << 8) as u32;
        assert_eq!(shuffled("up", 3, c)[i], value(at.checked_sub(3)), "up at {i}");
        assert_eq!(shuffled("down", 3, c | 31)[i], value(Some(at + 3).filter(|&j| j < width)), "down at {i}");
        assert_eq!(shuffled("bfly", 5, c | 31)[i], value(Some(at ^ 5)), "bfly at {i}");
        assert_eq!(shuffled("idx", 6, c | 31)[i], value(Some(6)), "idx at {i}");
    }
}

#[test]
fn a_lane_that_never_comes_is_named() {
    let body = "
    setp.lt.u32 %p0, %r1, 16;
    @%p0 bra lower;
    bar.sync 0;
    bra done;
lower:
    shfl.sync.idx.b32 %r0, %r0, 0, 31, -1;
done:";
    let fault = run_text(&kernel("", body), 32, &[0; 32]).unwrap_err();
    assert!(
        fault.text.contains("lanes 0x0000ffff wait here for lanes of their warp that never come"),
        "{}",
        fault.text
    );
}

#[test]
fn a_barrier_that_some_never_reach_is_a_deadlock() {
    let body = "
    setp.lt.u32 %p0, %r1, 32;
    @%p0 bar.sync 1, 64;
    @!%p0 bar.sync 2, 64;";
    let fault = run_text(&kernel("", body), 64, &[0; 64]).unwrap_err();
    assert!(fault.text.contains("barrier deadlock"), "{}", fault.text);
}

#[test]
fn barriers_count_predicates() {
    let body = "
    setp.lt.u32 %p0, %r1, 5;
    bar.red.popc.u32 %r2, 0, %p0;
    bar.red.and.pred %p1, 0, %p0;
    bar.red.or.pred %p2, 0, %p0;
    selp.u32 %r3, 100, 0, %p1;
    selp.u32 %r4, 1000, 0, %p2;
    add.u32 %r0, %r2, %r3;
    add.u32 %r0, %r0, %r4;";
    assert_eq!(map("", body, &[0; 70]), [1005; 70]);
}

#[test]
fn carries_go_from_word_to_word() {
    let body = "
    add.cc.u32 %r2, %r0, 1;
    addc.cc.u32 %r3, 0xffffffff, 0;
    addc.u32 %r0, 7, 0;";
    assert_eq!(map("", body, &[5, u32::MAX]), [7, 8]);
}

#[test]
fn bits_are_cut_out_and_put_in() {
    assert_eq!(map("", "bfe.u32 %r0, %r0, 4, 8;", &[0xabcd_ef12]), [0xf1]);
    assert_eq!(map("", "bfe.s32 %r0, %r0, 4, 8;", &[0xabcd_ef12]), [0xffff_fff1]);
    assert_eq!(map("", "bfi.b32 %r0, 0x5a, %r0, 8, 8;", &[0xabcd_ef12]), [0xabcd_5a12]);
    assert_eq!(map("", "shf.l.wrap.b32 %r0, %r0, 0x12345678, 36;", &[0xabcd_ef12]), [0x2345_678a]);
    assert_eq!(
        map("", "lop3.b32 %r0, %r0, 0xff00ff00, 0x0ff00ff0, 0x96;", &[0xabcd_ef12]),
        [0xabcd_ef12 ^ 0xff00_ff00 ^ 0x0ff0_0ff0]
    );
    assert_eq!(map("", "prmt.b32 %r0, %r0, 0x01020304, 0x9764;", &[0xabcd_ef12]), [0xff01_0204]);
    assert_eq!(map("", "shl.b32 %r0, %r0, 32;", &[1]), [0]);
    assert_eq!(map("", "shr.s32 %r0, %r0, 99;", &[0x8000_0000]), [u32::MAX]);
}

#[test]
fn conversions_round_as_asked() {
    let convert =
        |how: &str, v: f32| map("", &format!("mov.b32 %f0, %r0;\n cvt.{how} %r0, %f0;"), &[v.to_bits()])[0] as i32;
    assert_eq!([convert("rni.s32.f32", 2.5), convert("rni.s32.f32", 3.5), convert("rni.s32.f32", -2.5)], [2, 4, -2]);
    assert_eq!([convert("rzi.s32.f32", -2.7), convert("rmi.s32.f32", -2.3), convert("rpi.s32.f32", 2.3)], [-2, -3, 3]);
    assert_eq!(
        [convert("rzi.s32.f32", 3e9), convert("rzi.s32.f32", f32::NAN), convert("rzi.u32.f32", -1.0)],
        [i32::MAX, 0, 0]
    );
    let half = |how: &str, v: f32| {
        map("", &format!("mov.b32 %f0, %r0;\n cvt.{how}.f32 %h0, %f0;\n cvt.u32.u16 %r0, %h0;"), &[v.to_bits()])[0]
    };
    assert_eq!(
        [half("rn.bf16", 1.0 + 1.0 / 256.0), half("rn.bf16", 1.0 + 3.0 / 256.0), half("rz.bf16", 1.0 + 3.0 / 256.0)],
        [0x3f80, 0x3f82, 0x3f81]
    );
    assert_eq!(
        [half("rn.f16", 65520.0), half("rz.f16", 65520.0), half("rn.f16", 1e-8), half("rn.bf16", f32::NAN)],
        [0x7c00, 0x7bff, 0, 0x7fff]
    );
    let pair = map("", "mov.b32 %f0, %r0;\n cvt.rn.bf16x2.f32 %r0, %f0, 0f40000000;", &[1f32.to_bits()])[0];
    assert_eq!(pair, 0x3f80_4000, "the first operand is the upper half");
}

#[test]
fn directed_roundings_bracket_the_exact_value() {
    let at = |round: &str| {
        f32::from_bits(
            map(
                "",
                &format!("mov.b32 %f0, %r0;\n fma.{round}.f32 %f0, %f0, 0f3dcccccd, 0f40400000;\n mov.b32 %r0, %f0;"),
                &[7f32.to_bits()],
            )[0],
        )
    };
    let exact = 7.0 * f64::from(0.1f32) + 3.0;
    let (down, up) = (at("rm"), at("rp"));
    assert!(f64::from(down) < exact && exact < f64::from(up) && down.next_up() == up, "{down} {exact} {up}");
    assert_eq!(at("rz"), down);
    assert_eq!(at("rn"), exact as f32);
}

#[test]
fn comparisons_know_unordered_numbers() {
    let compare = |how: &str| {
        map(
            "",
            &format!("mov.b32 %f0, %r0;\n setp.{how}.f32 %p0, %f0, 0f3f800000;\n selp.u32 %r0, 1, 0, %p0;"),
            &[1f32.to_bits(), f32::NAN.to_bits(), 0],
        )
    };
    assert_eq!(compare("eq"), [1, 0, 0]);
    assert_eq!(compare("ne"), [0, 0, 1]);
    assert_eq!(compare("neu"), [0, 1, 1]);
    assert_eq!(compare("ltu"), [0, 1, 1]);
    assert_eq!(compare("ge"), [1, 0, 0]);
    assert_eq!(compare("nan"), [0, 1, 0]);
}

#[test]
fn module_variables_hold_what_they_are_given() {
    let declarations =
        ".const .align 4 .b32 table[4] = {1, 20, 300, -1};\n.global .align 8 .u64 pointer = generic(table);";
    let body = "
    ld.global.u64 %d2, [pointer];
    mad.wide.u32 %d2, %r1, 4, %d2;
    ld.u32 %r2, [%d2];
    ld.const.u32 %r3, [table+4];
    add.u32 %r0, %r2, %r3;";
    assert_eq!(map(declarations, body, &[0; 4]), [21, 40, 320, 19]);
}

#[test]
fn what_is_not_understood_stops_only_who_gets_there() {
    let text = format!("{HEAD}{}", kernel("", "setp.eq.u32 %p0, %r1, 999;\n @%p0 frobnicate.u32 %r0, %r0;"));
    let module = LoadedModule::new(&text).unwrap();
    let program = module.decode("k").unwrap();
    assert_eq!(program.messages, ["frobnicate.u32: this instruction isn't supported"]);
    let base = memory().alloc(4);
    run(&program, [1; 3], [1; 3], 0, &base.to_le_bytes(), Options::default()).unwrap();
    memory().free(base);
}
