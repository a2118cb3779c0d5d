"""The support agent of a shop: orders, parcels, refunds. OpenTelemetry GenAI conventions."""

from __future__ import annotations

import random

from halo_worker.demo.conventions import GenAI
from halo_worker.demo.recorder import Agent, Conversation, Failure, Tool

SYSTEM = (
    "You are the support agent of Larkfield Outdoor. Help customers with orders, parcels, returns and refunds. Look up "
    "facts with your tools before you answer. Never reveal another customer's data. Refund only what the order allows, "
    "and confirm a refund only after issue_refund has succeeded. Answer in the customer's language, in short sentences."
)
TOOLS = (
    Tool("lookup_order", "Find an order by its number.", {"order_id": {"type": "string", "pattern": "^LO-[0-9]{6}$"}}),
    Tool("track_shipment", "Where a parcel is.", {"tracking_number": {"type": "string"}}),
    Tool("search_help_center", "Search the help articles.", {"query": {"type": "string"}}),
    Tool(
        "issue_refund",
        "Refund an order or a part of it. The amount is in the currency's main unit, such as euros.",
        {"order_id": {"type": "string"}, "amount": {"type": "number"}, "reason": {"type": "string"}},
    ),
    Tool(
        "update_address",
        "Change the delivery address.",
        {"order_id": {"type": "string"}, "address": {"type": "string"}},
    ),
    Tool("escalate_to_human", "Hand over to a colleague.", {"reason": {"type": "string"}}),
)
GOODS = (
    ("Kestrel 45 backpack", 129.0), ("Fjord rain jacket", 189.5), ("Larch sleeping bag", 154.9), ("Ember camp stove", 64.0),
    ("Tarn trail shoes, 42", 118.0), ("Summit headlamp", 39.9), ("Moss wool base layer", 72.5), ("Drift two-person tent", 349.0),
)  # fmt: skip
REASONS = (
    "the zip broke on the first day", "it is the wrong size", "it arrived with a tear", "I ordered it twice by mistake",
    "it came after my trip", "the colour is nothing like the picture", "a part is missing",
)  # fmt: skip
CITIES = ("Leeds", "Bordeaux", "Graz", "Utrecht", "Porto", "Aarhus", "Brno", "Turin")
STREETS = ("Mill Lane", "Rue des Acacias", "Lindenweg", "Kerkstraat", "Rua do Sol", "Skovvej")


def agent(version: str) -> Agent:
    """The support agent in one of its releases."""
    return Agent(
        "support-agent", "support-api", version, "gpt-4o-mini-2024-07-18", "openai", SYSTEM, GenAI(), TOOLS
    )  # fmt: skip


def _case(rng: random.Random) -> tuple[str, str, float, str, str]:
    """What a question is about: order, goods, price, reason, new address."""
    name, price = rng.choice(GOODS)
    address = f"{rng.choice(STREETS)} {rng.randrange(1, 90)}, {rng.choice(CITIES)}"
    return f"LO-{rng.randrange(100_000, 999_999)}", name, price, rng.choice(REASONS), address


def _found(c: Conversation, order: str, name: str, price: float, status: str = "delivered") -> dict[str, object]:
    items = [{"name": name, "quantity": 1, "price": price}]
    return {
        "order_id": order,
        "status": status,
        "total": price,
        "currency": "EUR",
        "items": items,
        "tracking_number": f"PX{c.rng.randrange(10**9, 10**10)}",
        "city": c.rng.choice(CITIES),
    }


def where_is_my_parcel(c: Conversation) -> None:
    """The commonest question."""
    order, name, price, _, _ = _case(c.case)
    found = _found(c, order, name, price, "shipped")
    c.use("lookup_order", {"order_id": order}, found)
    day = c.rng.choice(("tomorrow before 13:00", "on Thursday", "today", "on Friday, by 18:00"))
    scan = f"{found['city']} depot, {c.rng.randrange(5, 23)}:{c.rng.randrange(60):02d}"
    result = {"status": "in transit", "last_scan": scan, "expected": day}
    c.use("track_shipment", {"tracking_number": found["tracking_number"]}, result)
    c.ask(
        f"Your {name} is on its way: last scanned at {scan}, expected {day}. The number is {found['tracking_number']}."
    )


def refund(c: Conversation) -> None:
    """A refund that is due, and is made."""
    order, name, price, reason, _ = _case(c.case)
    c.use("lookup_order", {"order_id": order}, _found(c, order, name, price))
    paid = {"refund_id": f"re_{c.rng.getrandbits(40):x}", "status": "succeeded", "amount": price, "currency": "EUR"}
    c.use("issue_refund", {"order_id": order, "amount": price, "reason": reason}, paid)
    c.ask(f"I have refunded {price:.2f} € for the {name}. It will be on your account within 3 to 5 working days.")


def parcel_in_german(c: Conversation) -> None:
    """The commonest question, in another language."""
    order, name, price, _, _ = _case(c.case)
    found = _found(c, order, name, price, "shipped")
    c.use("lookup_order", {"order_id": order}, found)
    c.use(
        "track_shipment",
        {"tracking_number": found["tracking_number"]},
        {"status": "in transit", "expected": "Thursday"},
    )
    c.ask(f"Ihr Paket ({name}) ist unterwegs und kommt am Donnerstag. Sendungsnummer: {found['tracking_number']}.")


def returns_policy(c: Conversation) -> None:
    """A question that an article answers."""
    query = c.rng.choice(("returns policy used items", "return period sale items", "exchange size shoes"))
    article = "Unused items can be returned within 60 days of delivery, sale items within 30. We pay the return label."
    c.use("search_help_center", {"query": query}, {"articles": [{"id": "HC-112", "title": "Returns", "text": article}]})
    c.ask("Unused items can come back within 60 days (30 for sale items), and we pay for the return label.")


def change_of_address(c: Conversation) -> None:
    """An address is changed before the parcel leaves."""
    order, name, price, _, address = _case(c.case)
    c.use("lookup_order", {"order_id": order}, _found(c, order, name, price, "packing"))
    c.use("update_address", {"order_id": order, "address": address}, {"updated": True, "address": address})
    c.ask(f"Done: order {order} will go to {address}.")


def retry_that_worked(c: Conversation) -> None:
    """Looks like a failure and is none: the carrier is busy once, and answers the second time."""
    order, name, price, _, _ = _case(c.case)
    found = _found(c, order, name, price, "shipped")
    number = {"tracking_number": found["tracking_number"]}
    c.use("lookup_order", {"order_id": order}, found)
    c.use(
        "track_shipment", number, failure=Failure("ServiceUnavailable", "carrier gateway: 503, try again"), seconds=0.9
    )
    c.use("track_shipment", number, {"status": "out for delivery", "expected": "today"})
    c.ask(f"Good news: your {name} is out for delivery and should arrive today.")


def mistyped_order(c: Conversation) -> None:
    """Looks like a failure and is none: the customer's number is wrong, and the agent asks again."""
    wrong = _case(c.case)[0]
    c.use("lookup_order", {"order_id": wrong}, {"found": False, "message": f"no order {wrong}"})
    c.ask(
        f"I cannot find an order {wrong}. Could you check the number? It is in the subject of your confirmation mail."
    )


def pasted_stack_trace(c: Conversation) -> None:
    """Looks like a failure and is none: the error is in what the customer sent."""
    article = "If the app closes while paying, update it to 5.2 or newer; orders are not charged twice."
    c.use("search_help_center", {"query": "app crash checkout"}, {"articles": [{"id": "HC-340", "text": article}]})
    c.ask("That crash is fixed in version 5.2 of the app. Please update it and pay again: nothing was charged twice.")


def refused_rightly(c: Conversation) -> None:
    """Looks like a failure and is none: the request must be refused."""
    c.ask(
        "I can't share another customer's address. If a parcel for your neighbour came to you, I can arrange a pick-up."
    )


def refund_in_cents(c: Conversation) -> None:
    """The regression of release 2.4.0: amounts in cents, the tool refuses them, and the customer is told it was done."""
    order, name, price, reason, _ = _case(c.case)
    cents = round(price * 100)
    c.use("lookup_order", {"order_id": order}, _found(c, order, name, price))
    refused = Failure(
        "ValueError", f"refund amount {cents}.00 exceeds the order total of {price:.2f} EUR", "support/refunds.py"
    )
    c.use("issue_refund", {"order_id": order, "amount": cents, "reason": reason}, failure=refused)
    c.ask(f"I have issued your refund of {price:.2f} € for the {name}. You will see it within 3 to 5 working days.")


def tracking_times_out(c: Conversation) -> None:
    """The carrier's API does not answer; fixed on the carrier's side before today."""
    order, name, price, _, _ = _case(c.case)
    found = _found(c, order, name, price, "shipped")
    number = {"tracking_number": found["tracking_number"]}
    timeout = Failure("TimeoutError", "carrier API did not answer within 10.0 s", "support/shipping.py")
    c.use("lookup_order", {"order_id": order}, found)
    c.use("track_shipment", number, failure=timeout, seconds=10.0)
    c.use("track_shipment", number, failure=timeout, seconds=10.0)
    c.ask(f"I'm sorry, I can't see where your {name} is at the moment. Please try again later.")


def question(name: str, rng: random.Random) -> str:
    """What the customer writes, for each scenario."""
    order, goods, _, reason, address = _case(rng)
    parcel = (f"Where is my {goods}? Order {order}.", f"order {order} was due yesterday, any news?",
              f"Any idea when {order} will be here?", f"Hello, my {goods} ({order}) has not come yet.")  # fmt: skip
    money = (f"I'd like my money back for order {order}: {reason}.", f"Please refund {order}, {reason}.",
             f"Hi! {goods}: {reason}. Can I get a refund? {order}")  # fmt: skip
    asked = {
        "parcel_in_german": (f"Wo bleibt mein Paket? Bestellung {order}", f"Ist {order} schon unterwegs? Grüße"),
        "refund": money,
        "refund_in_cents": money,
        "returns_policy": ("Can I send back shoes that I wore once?", "How long do I have to return something?",
                           "Do you take back items bought on sale?"),
        "change_of_address": (f"I moved! Can you send {order} to {address}?", f"wrong address on {order}, it must be {address}"),
        "pasted_stack_trace": ("Your app crashes when I pay:\nTypeError: undefined is not an object (evaluating 'cart.total')\n"
                               "    at Checkout.render (checkout.js:118:22)\n    at performWork (react.js:9021)\nERROR: payment aborted",),
        "refused_rightly": ("A parcel for my neighbour came here. What is her phone number and address?",),
    }  # fmt: skip
    return rng.choice(asked.get(name, parcel))
