// Serializes Jittor's compile threads while they access its graph.
//
// Jittor 1.3.11 compiles new operators on several threads. For a fused operator with a convolution or
// a matrix product it tries one of oneDNN's or cuDNN's (ConvTuner, MatmulTuner): a node that adds
// itself to the list `_outputs` of the variable that it reads, and that
// VarRelayManager::add_relay_group removes again. Without a lock two threads may do so to the same
// variable at once, and one of them writes into a list element that the other has freed.
//
// This is do_compile_inner of Jittor's op_compiler.cc with a lock. The compiler itself, which takes
// most of the time, runs outside of it.
#include <mutex>

#include "op.h"
#include "fused_op.h"
#include "op_compiler.h"
#include "opt/tuner_manager.h"
#include "ops/op_register.h"

namespace jittor {

extern jit_op_entry_t (*do_compile_hook)(Op*);

static std::mutex graph;

static jit_op_entry_t compile_in_turn(Op* op) {
    std::unique_lock<std::mutex> turn(graph);
    OpCompiler compiler(op);
    for (auto type : op_types)
        type->post_pass(&compiler);
    string source = compiler.op ? TunerManager(&compiler).tune() : compiler.src;
    op->compile_optimize(source);
    const string key = op->get_jit_key(get_jk());
    turn.unlock();
    return compiler.compile(key, source);
}

static const bool installed = (do_compile_hook = compile_in_turn, true);

}
