// Calls of which nothing is needed but that they succeed, and those that hand out something to hold.
#pragma once
#define DONE(name) \
    int name() { return 0; }
#define MADE(name)                         \
    int name(void** handle) {              \
        *handle = (void*)1;                \
        return 0;                          \
    }
