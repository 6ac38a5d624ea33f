"""A producer that is not ours: publishes the lines of a file with pika, persistent and confirmed.

    publish.py AMQP_URL EXCHANGE ROUTING_KEY FILE

A connection that breaks is opened anew, and what was not confirmed is published again. Prints one JSON line:
what was confirmed, in how many seconds, over how many connections.
"""

import collections
import json
import sys
import time

import pika

WINDOW = 2000
GIVE_UP_S = 300


class Publisher:
    def __init__(self, url, exchange, key, lines):
        self.parameters = pika.URLParameters(url)
        self.exchange, self.key = exchange, key
        self.waiting = collections.deque(enumerate(lines))
        self.under_way = collections.OrderedDict()
        self.total = len(self.waiting)
        self.confirmed = 0
        self.connections = 0
        self.properties = pika.BasicProperties(delivery_mode=2, content_type="application/json")

    def run(self):
        started = time.monotonic()
        while self.confirmed < self.total:
            if time.monotonic() - started > GIVE_UP_S:
                sys.exit("gave up: the broker did not confirm everything")
            self.connections += 1
            self.connection = pika.SelectConnection(
                self.parameters,
                on_open_callback=self.opened,
                on_open_error_callback=lambda connection, _: connection.ioloop.stop(),
                on_close_callback=lambda connection, _: connection.ioloop.stop(),
            )
            self.connection.ioloop.start()
            # Whatever the broker did not confirm may or may not be there: it is published again.
            self.waiting.extendleft(reversed(self.under_way.values()))
            self.under_way.clear()
            if self.confirmed < self.total:
                time.sleep(0.3)
        return {
            "confirmed": self.confirmed,
            "seconds": round(time.monotonic() - started, 2),
            "connections": self.connections,
        }

    def opened(self, connection):
        connection.channel(on_open_callback=self.ready)

    def ready(self, channel):
        self.channel, self.tag = channel, 0
        channel.confirm_delivery(self.answered, callback=lambda _: self.pump())

    def pump(self):
        while self.waiting and len(self.under_way) < WINDOW:
            item = self.waiting.popleft()
            self.tag += 1
            self.under_way[self.tag] = item
            self.channel.basic_publish(self.exchange, self.key, item[1], self.properties, mandatory=True)

    def answered(self, frame):
        answer = frame.method
        if not isinstance(answer, pika.spec.Basic.Ack):
            sys.exit("the broker refused a message")
        tags = [answer.delivery_tag]
        if answer.multiple:
            tags = [tag for tag in self.under_way if tag <= answer.delivery_tag]
        for tag in tags:
            if self.under_way.pop(tag, None) is not None:
                self.confirmed += 1
        if self.confirmed == self.total:
            self.connection.close()
        elif len(self.under_way) < WINDOW // 2:
            self.pump()


if __name__ == "__main__":
    url, exchange, key, path = sys.argv[1:]
    with open(path, "rb") as file:
        bodies = file.read().splitlines()
    print(json.dumps(Publisher(url, exchange, key, bodies).run()), flush=True)
