// Calls that only have to succeed (DONE), and calls that only have to return a handle (MADE).
#pragma once
#define DONE(name) \
    int name() { return 0; }
#define MADE(name)            \
    int name(void** handle) { \
        *handle = (void*)1;   \
        return 0;             \
    }
