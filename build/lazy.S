/* `function NAME LIBRARY` defines NAME: it goes on to the address in its record, which the first call fills in.
   The record is `struct function` of lazy.c. Each has sections of its own, so that the linker drops those that nobody calls. */

.macro record name library
  .section .data.\name, "aw", %progbits
  .balign 8
.Lrecord_\name:
  .quad 0
  .short \library
  .asciz "\name"
.endm

#if defined(__x86_64__)

.macro function name library
  record \name \library
  .section .text.\name, "ax", %progbits
  .globl \name
  .hidden \name
  .type \name, %function
\name:
  movq .Lrecord_\name(%rip), %r11
  testq %r11, %r11
  jz 1f
  jmp *%r11
1:
  leaq .Lrecord_\name(%rip), %r11
  jmp first_call
  .size \name, . - \name
.endm

/* Keeps all registers in which the System V ABI passes arguments. */
  .text
  .type first_call, %function
first_call:
  pushq %rdi
  pushq %rsi
  pushq %rdx
  pushq %rcx
  pushq %r8
  pushq %r9
  pushq %rax
  subq $128, %rsp
  movups %xmm0, (%rsp)
  movups %xmm1, 16(%rsp)
  movups %xmm2, 32(%rsp)
  movups %xmm3, 48(%rsp)
  movups %xmm4, 64(%rsp)
  movups %xmm5, 80(%rsp)
  movups %xmm6, 96(%rsp)
  movups %xmm7, 112(%rsp)
  movq %r11, %rdi
  call emopipe_cuda_resolve
  movq %rax, %r11
  movups (%rsp), %xmm0
  movups 16(%rsp), %xmm1
  movups 32(%rsp), %xmm2
  movups 48(%rsp), %xmm3
  movups 64(%rsp), %xmm4
  movups 80(%rsp), %xmm5
  movups 96(%rsp), %xmm6
  movups 112(%rsp), %xmm7
  addq $128, %rsp
  popq %rax
  popq %r9
  popq %r8
  popq %rcx
  popq %rdx
  popq %rsi
  popq %rdi
  jmp *%r11
  .size first_call, . - first_call

#elif defined(__aarch64__)

.macro function name library
  record \name \library
  .section .text.\name, "ax", %progbits
  .balign 4
  .globl \name
  .hidden \name
  .type \name, %function
\name:
  adrp x17, .Lrecord_\name
  add x17, x17, :lo12:.Lrecord_\name
  ldr x16, [x17]
  cbz x16, 1f
  br x16
1:
  b first_call
  .size \name, . - \name
.endm

/* Keeps all registers in which the procedure call standard passes arguments. */
  .text
  .balign 4
  .type first_call, %function
first_call:
  stp x29, x30, [sp, #-224]!
  mov x29, sp
  stp x0, x1, [sp, #16]
  stp x2, x3, [sp, #32]
  stp x4, x5, [sp, #48]
  stp x6, x7, [sp, #64]
  str x8, [sp, #80]
  stp q0, q1, [sp, #96]
  stp q2, q3, [sp, #128]
  stp q4, q5, [sp, #160]
  stp q6, q7, [sp, #192]
  mov x0, x17
  bl emopipe_cuda_resolve
  mov x16, x0
  ldp x0, x1, [sp, #16]
  ldp x2, x3, [sp, #32]
  ldp x4, x5, [sp, #48]
  ldp x6, x7, [sp, #64]
  ldr x8, [sp, #80]
  ldp q0, q1, [sp, #96]
  ldp q2, q3, [sp, #128]
  ldp q4, q5, [sp, #160]
  ldp q6, q7, [sp, #192]
  ldp x29, x30, [sp], #224
  br x16
  .size first_call, . - first_call

#endif

  .section .note.GNU-stack, "", %progbits
