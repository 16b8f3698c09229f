// A small stand-in for Lua's own lua.c, which the crate lua-src leaves out.
//
//   lua SCRIPT [ARGUMENT]...    `-` is standard input; the arguments are in `arg` and in `...`
//
// An uncaught error goes to standard error with its traceback, and the status is 1.
#include <stdio.h>
#include <stdlib.h>

#include "lauxlib.h"
#include "lua.h"
#include "lualib.h"

// What wasi-libc declares but does not have.
FILE *tmpfile(void) { return NULL; }

static int with_traceback(lua_State *lua) {
    const char *message = luaL_tolstring(lua, 1, NULL);
    luaL_traceback(lua, lua, message, 1);
    return 1;
}

int main(int argc, char **argv) {
    lua_State *lua = luaL_newstate();
    if (argc < 2 || !lua) {
        fputs(lua ? "usage: lua SCRIPT [ARGUMENT]...\n" : "lua: out of memory\n", stderr);
        return 1;
    }
    luaL_openlibs(lua);
    lua_createtable(lua, argc, 0);
    for (int i = 1; i < argc; i++) {
        lua_pushstring(lua, argv[i]);
        lua_rawseti(lua, -2, i - 1);
    }
    lua_setglobal(lua, "arg");
    lua_pushcfunction(lua, with_traceback);
    int failed = luaL_loadfile(lua, argv[1][0] == '-' && !argv[1][1] ? NULL : argv[1]);
    if (!failed) {
        for (int i = 2; i < argc; i++) lua_pushstring(lua, argv[i]);
        failed = lua_pcall(lua, argc - 2, 0, 1);
    }
    if (failed) fprintf(stderr, "lua: %s\n", lua_tostring(lua, -1));
    lua_close(lua);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

// The exception that carries a longjmp: compiled code refers to its tag, zig's libc does not define it.
__asm__(".globl __c_longjmp\n"
        ".tagtype __c_longjmp i32\n"
        "__c_longjmp:\n");
