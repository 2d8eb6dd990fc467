"""Why a target is missed, and what was tried. From docs/LOG.md, where the figures are; to be mended when a measurement says otherwise."""

import fnmatch

# Patterns of a target's `what`, first match wins; one reason may serve several. Only those that a run missed are printed.
REASONS = (
    (("training, our causal form against our bidirectional one, *",),
     "The causal form has 12d² of products a token where the reassociated bidirectional one has 10d², which alone is 0.83. On top come the sums "
     "and both kinds of slots, which it makes for each block and keeps for backward."),
    (("training, causal window against the fused-attention Transformer, *", "model FLOP utilisation, window, *"),
     "Without bfloat16 (AVX2), n 2048, products with their packing are 75 % of a step, the attend kernel 6 %, waiting of OpenMP threads 5 %, memory "
     "copies, GELU, norms and fills 1 to 2 % each: no single piece is worth more than a few per cent. Tried: one product for query, key and value "
     "(0 to 1 %, more memory), oneDNN in place of MKL (slower everywhere), running slots summed in place (0.5 to 7 %, taken), memory kept by "
     "the allocator (3 to 9 %, taken, but the Transformer gains as much)."),
    (("training, bidirectional against *", "model FLOP utilisation, bidirectional, *"),
     "In bfloat16 (AVX-512), one thread, oneDNN's own code was 63 % of a step, LibTorch's passes 15 % (additions 5.7, casts 2.3, copies 1.7, column sums "
     "1.1), clearing and mapping pages 12.7 %, our kernels 8 %: `addmm` copies the bias into its output before each product, and a branch's output "
     "was copied into float32 for the residual sum."),
    (("reference setting against *",),
     "At 512 tokens Transformer and Linformer have the same arithmetic to within 1 %, most of it in the output layer of 50,257 tokens, so that only "
     "overhead can differ: against a chunked loss there is next to nothing left to gain."),
    (("reference setting, memory",),
     "Weights, moments and gradients of 49 million parameters are there at once with activations and a chunk of logits. Gradients that are freed "
     "instead of zeroed, and no scaled copy of the output layer's, brought the peak from 2.67 to 2.58 GiB."),
    (("generation, d *, batch 1, float32, *",),
     "A token takes 1.25 to 1.34 times the reading of the weights, with one thread 1.00 to 1.03: the second thread costs in its waiting between the 44 "
     "stages of a token. Weights on pages of 2 MB gained 10 % (taken); fewer stages were not tried."),
    (("… time a token over the weight-stream bound, *",),
     "The second thread waits between the 44 stages of a token: with one thread a token takes 1.00 to 1.03 of the bound in float32, 1.20 to 1.29 in 8 bits."),
)


def reason_of(what):
    for patterns, text in REASONS:
        if any(fnmatch.fnmatchcase(what, pattern) for pattern in patterns):
            return text
    return None
