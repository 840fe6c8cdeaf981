plugins {
    id("com.android.library")
    kotlin("android")
}

android {
    namespace = "segmentanything.android"
    compileSdk = 35
    defaultConfig { minSdk = 26 }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
}

kotlin { jvmToolchain(17) }

// An app adds the runtime that it uses; the other is not needed to build it.
dependencies {
    api(project(":core"))
    compileOnly("com.google.ai.edge.litert:litert:2.1.6")
    compileOnly("com.microsoft.onnxruntime:onnxruntime-android:1.24.3")
}
