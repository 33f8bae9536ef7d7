// Search in pages that are opened from the disk: browsers start no workers there, so the worker's script runs in a
// hidden frame. The theme asks for this class by the name IFrameWorker.
window.IFrameWorker = class extends EventTarget {
  constructor(url) {
    super();
    this.frame = document.createElement("iframe");
    this.frame.hidden = true;
    document.body.append(this.frame);
    const page = this.frame.contentWindow;
    page.document.open();
    page.document.write("<!doctype html><title>search</title><body>");
    page.document.close();
    const load = (source) => new Promise((resolve, reject) => {
      const script = page.document.createElement("script");
      script.src = source;
      script.onload = resolve;
      script.onerror = () => reject(new Error(`${source} cannot be loaded`));
      page.document.body.append(script);
    });
    page.importScripts = (...sources) => sources.reduce((before, next) => before.then(() => load(next)), Promise.resolve());
    page.postMessage = (data) => setTimeout(() => {
      const event = new MessageEvent("message", { data: structuredClone(data) });
      this.dispatchEvent(event);
      this.onmessage?.(event);
    });
    this.ready = load(url);
  }

  postMessage(data) {
    this.ready.then(() => {
      const page = this.frame.contentWindow;
      page.dispatchEvent(new page.MessageEvent("message", { data: structuredClone(data) }));
    });
  }

  terminate() {
    this.frame.remove();
  }
};
if (location.protocol === "file:") window.Worker = window.IFrameWorker;
