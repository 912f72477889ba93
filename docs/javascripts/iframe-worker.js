// Search runs in a worker, and browsers start none for a page that is opened as a file. There, and only there, this
// runs the worker's script in a hidden frame instead, so that the site can be searched without a server or a network.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      this.ready = new Promise((resolve, reject) => {
        this.frame.onload = () => {
          const inside = this.frame.contentWindow
          inside.postMessage = data => {
            const event = new MessageEvent("message", { data })
            this.dispatchEvent(event)
            if (this.onmessage) this.onmessage(event)
          }
          inside.importScripts = (...urls) => Promise.all(urls.map(each => load(inside.document, each)))
          load(inside.document, url).then(resolve, reject)
        }
      })
      document.documentElement.append(this.frame)
    }

    postMessage(data) {
      this.ready.then(() => {
        const inside = this.frame.contentWindow
        const event = new inside.MessageEvent("message", { data })
        inside.dispatchEvent(event)
      })
    }

    terminate() {
      this.frame.remove()
    }
  }

  function load(page, url) {
    return new Promise((resolve, reject) => {
      const script = page.createElement("script")
      script.src = url
      script.onload = resolve
      script.onerror = reject
      page.body.append(script)
    })
  }
}
