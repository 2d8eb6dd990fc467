"""Why a target is missed, and what was tried. From docs/LOG.md, where the figures are; to be mended when a measurement says otherwise."""

import fnmatch

# Patterns of a target's `what`, first match wins; one reason may serve several. Only those that a run missed are printed.
# Those of the newest measurement (AMD Zen 5, AVX-512 with bfloat16); what an AVX2 machine showed is in docs/LOG.md.
REASONS = (
    (("training, our causal form against our bidirectional one, *",),
     "A step of the causal form has 7.86 million multiply-adds a token, of the bidirectional one 6.39 (reassociated): 0.81 at equal speed of the products, less than the "
     "floor. The rest are its sums, slots and norms of keys, 8 % of a step, and attention, 13 % of the time for 9 % of the arithmetic. At n 32768 slots of 512 blocks probably leave "
     "the caches (not profiled); making them again in backward instead of keeping them was not tried."),
    (("training, causal window against the fused-attention Transformer, *", "model FLOP utilisation, window, *"),
     "A step at n 2048 (590 ms; every operation timed, docs/LOG.md): products 400, which would be 360 at the speed of the large product; attention 80; layer norms, residual sums and GELU 60; "
     "sums and slots 30; casts and cleared gradients 14. Tried: all passes over a residual stream or a hidden layer fused (taken), attention in products of bfloat16 (taken), one "
     "product for query, key and value (nothing). Left: slots by one kernel, attention's gradients written in bfloat16; together at most 5 %."),
    (("model FLOP utilisation, bidirectional, *",),
     "A step at n 2048 (455 ms): products 330, which would be 300 at the speed of the large product; attention 40; layer norms, residual sums and GELU 45; AdamW, norms of "
     "gradients and casts of weights 20. Before the fused passes it was 582 ms. The first round of a process is slower and counts: with four rounds instead of three n 2048 reached 0.707."),
    (("training, bidirectional against *",),
     "The floors were taken from these packages in float32, and of that ours is more than four times as fast at n 2048. Under autocast they are three times as fast as that, and here both sides are at "
     "their best dtype. Twice `linformer` (1.8 times at 8192), or 2.5 times `linformer-pytorch`, would be all products that this processor can do, or more."),
    (("reference setting against *",),
     "At 512 tokens Transformer and Linformer have the same arithmetic to within 1 %, most of it in the output layer of 50,257 tokens, so that only overhead can differ: in float32 next to nothing is left to "
     "gain against a chunked loss."),
    (("reference setting, memory",),
     "Weights, moments and gradients of 49 million parameters are there at once with activations and a chunk of logits. Gradients that are freed instead of zeroed, and no scaled copy of the output layer's, "
     "brought the peak from 2.67 to 2.58 GiB in float32."),
    (("generation, d *, batch 1, float32, *", "… time a token over the weight-stream bound, *"),
     "Both programs read the same weights, and at a short context llama.cpp is as near to that bound as ours (1.2 to 1.3 times the time). The floors of 1.3 and 2 come from a machine on which it is "
     "slowed much more by its key-value cache, which here probably stays in the processor's 32 MB: twice its speed at 3800 would be at the bound itself or past it. The bound is the best reading of one 77 MB matrix in any round; "
     "24 smaller ones a token, and attention between them, come to 0.7 to 0.8 of it. Tried: a longer spin before a waiting thread sleeps (within the spread), LibTorch's threads put to rest (5 % in float32, 13 % in "
     "8 bits, taken), greedy draws without a copy of the logits (6 % in 8 bits, taken). Fewer stages a token were not tried."),
    (("generation, d *, batch 16, *",),
     "The floor of 15 was set where rivals made 28 to 54 tokens/s; llama.cpp makes 440 to 500 here, and 15 times that would be 400 GFLOP/s in products of 16 rows. Ours are made for one "
     "row and reach 113: there is room for two to three times as much, not tried."),
    (("prompt reading, *, 1024 tokens",),
     "A hundredth and an eighth short, with a spread of 20 % between rounds; not profiled. CTranslate2, the rival here, reads prompts of 8-bit models in int8; ours does in bfloat16. Int8 was not tried."),
)


def reason_of(what):
    for patterns, text in REASONS:
        if any(fnmatch.fnmatchcase(what, pattern) for pattern in patterns):
            return text
    return None
