// The beginning: makes what the page knows, the views that show it and the stream that feeds it, and tells the views whenever the
// address changes.

import { byId } from "./dom.js";
import { DeadLettersView } from "./dead-letters.js";
import { Fleet } from "./fleet.js";
import { FleetView } from "./fleet-view.js";
import { Header } from "./header.js";
import { listen } from "./keys.js";
import { GapsView } from "./problems.js";
import { RocketView } from "./rocket.js";
import { LiveStream } from "./stream.js";
import { current, onChange } from "./url.js";
import { listenForKeys } from "./who.js";

const VIEWS = ["fleet", "gaps", "dead-letters"];

const fleet = new Fleet();
const header = new Header(fleet, () => stream);
const fleetView = new FleetView(fleet, byId("fleet"));
const rocketView = new RocketView(fleet);
const gapsView = new GapsView(fleet, byId("view-gaps"));
const deadLettersView = new DeadLettersView(fleet, byId("view-dead-letters"));
const stream = new LiveStream(take, (state) => header.connection(state));

function take(type, data) {
  fleet.take(type, data);
  if (type === "reset") fleetView.forget();
}

function update(state, before) {
  const view = VIEWS.includes(state.view) ? state.view : "fleet";
  for (const name of VIEWS) byId(`view-${name}`).hidden = name !== view;
  header.update({ ...state, view });
  rocketView.update({ ...state, rocket: view === "fleet" ? state.rocket : "" }, before);
  fleetView.update(state);
  gapsView.update(state, before);
  deadLettersView.update(state, before);
}

document.addEventListener("recoloured", () => {
  fleetView.picture.chart.recolour();
  rocketView.recolour();
});
listenForKeys(() => stream.reconnect());
onChange(update);
update(current());
listen(fleetView);
fleetView.start();
stream.start();
