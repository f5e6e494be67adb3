// The threads that parallel loops run on: one set a process, started when a loop first wants them.
//
// A loop is cut into chunks beforehand. Each thread takes the chunks of its own share in order, then what others have
// left of theirs. So nobody waits for a thread that has not come: while one still wakes up, or the system runs
// something else on its core, the caller does its chunks. A team of OpenMP waits for all of its threads at the start
// and at the end of every region, which cost small networks all that their second thread gained.
#pragma once

#include <cstdint>

namespace cnnx {

inline constexpr int kMostThreads = 1024;

/// Computes chunk number `chunk` of the loop `body`; no two calls with one slot run at a time.
using ChunkFunction = void (*)(const void* body, int64_t chunk, int slot);

/// Runs all chunks on up to `threads` threads, the caller's among them, and returns when they are done. Slots are below
/// `threads`. Returns false, and has done nothing, while another loop has the threads.
bool try_run_chunks(int64_t chunks, int threads, ChunkFunction function, const void* body);

/// Whether the calling thread is inside a loop's chunk that several threads share.
bool inside_shared_loop();

}  // namespace cnnx
