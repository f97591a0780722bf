"""Becomes a user, with what the machine's PAM says of that user, and executes a command in its own place.

A program of its own, on the standard library alone: `python -I -S become.py REQUEST COMMAND...`, run by root. It writes
why the command could not be executed to the descriptor `report`, and nothing where it could be.

The PAM session is opened and never closed: what is started in it outlives whoever starts it here, and to close it is to
revoke what that still uses (its kernel keyring). So nobody stays behind to watch it, as `runuser` does.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from typing import Any

NOT_EXECUTED = 77
"""The exit code where the command was not executed."""

UMASK = 0o022
_MOST_WORDS = 2000

_PAM_SUCCESS = 0
_PAM_CONV_ERR = 19
_PAM_ESTABLISH_CRED = 0x2
_PAM_PROMPTS = (1, 2)
_PR_SET_PDEATHSIG = 1


class Refused(Exception):
    """The user may not, or can't, run this now; the text says why."""


class _Message(ctypes.Structure):
    _fields_ = (("style", ctypes.c_int), ("text", ctypes.c_char_p))


class _Response(ctypes.Structure):
    _fields_ = (("text", ctypes.c_void_p), ("code", ctypes.c_int))


_Converse = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_int,
    ctypes.POINTER(ctypes.POINTER(_Message)),
    ctypes.POINTER(ctypes.c_void_p),
    ctypes.c_void_p,
)


class _Conversation(ctypes.Structure):
    _fields_ = (("converse", _Converse), ("data", ctypes.c_void_p))


class Pam:
    """One user's transaction with PAM, for the rest of this process.

    Parameters
    ----------
    service
        The name of its file in `/etc/pam.d`.

    Raises
    ------
    Refused
        When there is no PAM, or it knows no such service.
    """

    def __init__(self, service: str, user: str) -> None:
        try:
            self._pam = ctypes.CDLL("libpam.so.0")
        except OSError as error:
            raise Refused(f"PAM can't be loaded: {error}") from error
        self._calloc = ctypes.CDLL(None).calloc
        self._calloc.restype = ctypes.c_void_p
        self._calloc.argtypes = (ctypes.c_size_t, ctypes.c_size_t)
        self._pam.pam_strerror.restype = ctypes.c_char_p
        self._pam.pam_strerror.argtypes = (ctypes.c_void_p, ctypes.c_int)
        self._said: list[str] = []
        # PAM keeps pointers to these
        self._conversation = _Conversation(_Converse(self._converse), None)
        self._handle = ctypes.c_void_p()
        started = self._pam.pam_start(
            service.encode(), user.encode(), ctypes.byref(self._conversation), ctypes.byref(self._handle)
        )
        self._check(started)

    def permit(self) -> None:
        """See that the account is good: neither expired nor locked out.

        Raises
        ------
        Refused
            When it is not.
        """
        self._check(self._pam.pam_acct_mgmt(self._handle, 0))

    def open(self) -> None:
        """Open a session: limits of resources, groups, whatever the service's file names; this process has them.

        Raises
        ------
        Refused
            When a module does not allow it.
        """
        # groups of pam_group; a service without a way to authenticate has none to give
        self._pam.pam_setcred(self._handle, _PAM_ESTABLISH_CRED)
        self._check(self._pam.pam_open_session(self._handle, 0))

    def _check(self, code: int) -> None:
        if code != _PAM_SUCCESS:
            words = self._pam.pam_strerror(self._handle, code).decode(errors="replace")
            raise Refused(": ".join([words, *self._said]))

    def _converse(self, count: int, messages: Any, responses: Any, _data: int | None) -> int:
        """What modules say is kept for the refusal; what they ask, nobody is here to answer."""
        shown = [messages[n].contents for n in range(count)]
        self._said += [message.text.decode(errors="replace").strip() for message in shown if message.text]
        if any(message.style in _PAM_PROMPTS for message in shown):
            return _PAM_CONV_ERR
        responses[0] = self._calloc(count, ctypes.sizeof(_Response))
        return _PAM_SUCCESS


def change_user(request: dict[str, Any]) -> None:
    """Become the user, for good.

    Raises
    ------
    Refused, OSError
        When that can't be.
    """
    # before PAM, whose modules may say otherwise of mask and groups
    os.umask(UMASK)
    os.setgroups(request["groups"])
    if request["service"]:
        pam = Pam(request["service"], request["name"])
        if request["account"]:
            pam.permit()
        pam.open()
    uid, gid = request["uid"], request["gid"]
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if uid == 0 or os.getresuid() != (uid, uid, uid) or os.getresgid() != (gid, gid, gid):
        raise Refused(f"this process could not become uid {uid}")


def die_with(parent: int) -> None:
    """Be killed when that process dies. Forgotten with a change of user, so to be asked for after it.

    Raises
    ------
    Refused
        When it is dead already.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise Refused("the daemon that asked for it is gone")


def execute(argv: list[str]) -> None:
    """Execute it with the descriptors 0 to 2 alone: PAM's modules may have left some that root opened."""
    for entry in os.listdir("/proc/self/fd"):
        descriptor = int(entry)
        try:
            if descriptor > 2:
                os.set_inheritable(descriptor, False)
        except OSError:
            continue  # that of the listing
    # Python ignores these, and what is ignored stays so
    for name in ("SIGPIPE", "SIGXFSZ"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    os.execv(argv[0], argv)  # noqa: S606 - a shell is what is not wanted


def main() -> None:
    """Do as the arguments say; see the module's docstring."""
    request, argv = json.loads(sys.argv[1]), sys.argv[2:]
    os.set_inheritable(request["report"], False)
    try:
        if request["uid"] is not None:
            change_user(request)
        if request["parent"]:
            die_with(request["parent"])
        execute(argv)
    except (Refused, OSError) as error:
        words = f"{argv[0]}: {error.strerror}" if isinstance(error, OSError) else str(error)
        os.write(request["report"], words.encode()[:_MOST_WORDS])
        sys.exit(NOT_EXECUTED)


if __name__ == "__main__":
    main()
