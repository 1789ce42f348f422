"""What each fault does, and how it is taken back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from engine.errors import EngineError
from tests.chaos.clock import set_clock
from tests.chaos.ground import Ground, Slot
from tests.chaos.plan import Fault
from tests.chaos.proxy import DIRECTIONS, Direction

START_TIMES: Final = 20
START_AGAIN_S: Final = 0.5
WAYS: Final[dict[str, tuple[Direction, ...]]] = {"both ways": DIRECTIONS, "requests": ("requests",), "replies": ("replies",)}


@dataclass
class Done:
    """A fault as it happened: from when to when (monotonic seconds), and how often where that is not once."""

    fault: Fault
    began: float
    ended: float = 0.0
    times: int = 1


class Faults:
    """Carries faults out, each in a thread of its own. What cannot happen to one server at the same time waits its turn."""

    def __init__(self, ground: Ground, seed: int, tell: Callable[[str], None]) -> None:
        self.done: list[Done] = []
        self.failed: list[BaseException] = []
        self._ground = ground
        self._random = Random(f"copies {seed}")
        self._tell = tell
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._servers = {"Redis": threading.RLock(), "Kafka": threading.RLock()}

    def begin(self, fault: Fault) -> None:
        """Let a fault happen."""
        thread = threading.Thread(target=self._happen, args=(fault,), name=str(fault), daemon=True)
        self._threads.append(thread)
        thread.start()

    def copy_store(self) -> None:
        """Keep a copy of what Redis holds now, if it is there."""
        if self._servers["Redis"].acquire(blocking=False):
            try:
                if self._ground.redis.is_running():
                    self._ground.copy_store()
            finally:
                self._servers["Redis"].release()

    def end(self) -> None:
        """Take every fault back now; what has failed in doing so is in ``failed``."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _happen(self, fault: Fault) -> None:
        try:
            self._act(fault)
        except BaseException as error:
            self.failed.append(error)

    def _wait(self, seconds: float) -> None:
        self._over.wait(seconds)

    def _noted(self, fault: Fault) -> Done:
        done = Done(fault, time.monotonic())
        self.done.append(done)
        self._tell(str(fault))
        return done

    def _act(self, fault: Fault) -> None:
        match fault.kind.partition(" ")[0]:
            case "Redis" | "Kafka" as server:
                with self._servers[server]:
                    self._to_server(fault)
            case _:
                assert fault.worker is not None
                self._to_worker(fault, self._ground.slots[fault.worker])

    def _to_server(self, fault: Fault) -> None:
        ground, done = self._ground, self._noted(fault)
        if fault.kind == "Redis older" and ground.copies:
            copy = self._random.choice(ground.copies)
            self._until_it_starts(lambda: ground.redis.come_back_with(copy))
        else:
            server = ground.kafka if fault.kind.startswith("Kafka") else ground.redis
            server.kill()
            self._wait(fault.for_s)
            self._until_it_starts(server.start)
        done.ended = time.monotonic()

    def _until_it_starts(self, start: Callable[[], None]) -> None:
        """Start a server; another program may have taken its port meanwhile, for a moment."""
        for _ in range(START_TIMES):
            try:
                start()
            except EngineError as error:
                self._tell(f"{error}")
                time.sleep(START_AGAIN_S)
            else:
                return
        start()

    def _to_worker(self, fault: Fault, slot: Slot) -> None:
        match fault.kind:
            case "worker killed":
                with slot.lock:
                    done = self._noted(fault)
                    if slot.process is not None:
                        slot.process.kill()
                    self._wait(fault.for_s)
                    self._ground.begin(slot)
            case "worker stopped":
                with slot.lock:
                    done = self._noted(fault)
                    if slot.process is not None:
                        slot.process.pause()
                        self._wait(fault.for_s)
                        slot.process.resume()
            case "worker leaves":
                with slot.lock:
                    done = self._noted(fault)
                    self._ground.leave(slot)
            case "worker joins":
                with slot.lock:
                    done = self._noted(fault)
                    self._ground.begin(slot)
            case "clock set":
                done = self._noted(fault)
                set_clock(slot.clock, fault.amount)
                self._wait(fault.for_s)
                set_clock(slot.clock, 0.0)
            case "replies cut":
                done = self._noted(fault)
                link = slot.link("Redis" if fault.detail in ("apply", "load") else "Kafka")
                before = link.cuts
                link.cut_answers(fault.detail, int(fault.amount))
                self._wait(fault.for_s)
                link.disarm()
                done.times = link.cuts - before
            case _:
                done = self._noted(fault)
                link = slot.link(fault.kind.rpartition(" ")[2])
                link.close(*WAYS[fault.detail.partition(",")[0]])
                self._wait(fault.for_s)
                link.open(reset=bool(fault.amount))
        done.ended = time.monotonic()
