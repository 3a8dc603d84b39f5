// Profiles a program that was started for it: `millrace prof run` names a file in the environment,
// and every context records into one of its own from its beginning to its end.
#pragma once

struct mill_context;

namespace mill::api {

// Does nothing unless the environment variable MILLRACE_PROF is set: PATH[,budget=SHARE][,store=N].
// In PATH %p becomes the process id and %c the number of the context, from 1. The trace is written
// when the context or the process ends. What goes wrong is written to PATH.error, because the
// program has not asked for any of this.
void begin_auto_profile(mill_context& context) noexcept;

// Ends the context's own recording, where it has one, and writes it: the program wants a session of
// its own. False where there is none.
bool yield_auto_profile(mill_context& context) noexcept;

}  // namespace mill::api
